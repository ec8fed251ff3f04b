// The rest of stand_in.h: operations are registered by name as in TensorFlow; their declarations, which only its graphs
// need, are taken and dropped.
#pragma once

namespace tensorflow {

using Factory = std::function<OpKernel*(OpKernelConstruction*)>;
inline std::multimap<std::string, std::pair<std::vector<DataType>, Factory>>& kernels() {
  static std::multimap<std::string, std::pair<std::vector<DataType>, Factory>> all;
  return all;
}

namespace register_kernel {

struct Name {
  explicit Name(const char* name_) : name(name_) {}
  Name& Device(const char*) { return *this; }
  template <typename T>
  Name& TypeConstraint(const char*) {
    types.push_back(type_of<T>());
    return *this;
  }
  std::string name;
  std::vector<DataType> types;  // that the first input may have; empty for any
};

}  // namespace register_kernel

struct KernelRegistration {
  KernelRegistration(const register_kernel::Name& name, const Factory& factory) {
    kernels().insert({name.name, {name.types, factory}});
  }
};

namespace shape_inference {

struct DimensionHandle {};
struct ShapeHandle {};
struct InferenceContext {
  template <typename... Any>
  absl::Status WithRank(const Any&...) { return absl::OkStatus(); }
  template <typename... Any>
  absl::Status Merge(const Any&...) { return absl::OkStatus(); }
  ShapeHandle input(int) { return {}; }
  DimensionHandle Dim(ShapeHandle, int) { return {}; }
  DimensionHandle UnknownDim() { return {}; }
  template <typename Size>
  ShapeHandle Vector(const Size&) { return {}; }
  template <typename Rows, typename Columns>
  ShapeHandle Matrix(const Rows&, const Columns&) { return {}; }
  ShapeHandle Scalar() { return {}; }
  ShapeHandle UnknownShape() { return {}; }
  void set_output(int, ShapeHandle) {}
};

}  // namespace shape_inference

struct OpDeclaration {
  explicit OpDeclaration(const char*) {}
  OpDeclaration& Input(const char*) { return *this; }
  OpDeclaration& Output(const char*) { return *this; }
  OpDeclaration& Attr(const char*) { return *this; }
  OpDeclaration& SetIsStateful() { return *this; }
  OpDeclaration& SetShapeFn(absl::Status (*)(shape_inference::InferenceContext*)) { return *this; }
};

}  // namespace tensorflow

#define SDA_JOIN_(a, b) a##b
#define SDA_JOIN(a, b) SDA_JOIN_(a, b)
#define REGISTER_OP(name)                                                          \
  [[maybe_unused]] static const ::tensorflow::OpDeclaration SDA_JOIN(sda_op_, __COUNTER__) = \
      ::tensorflow::OpDeclaration(name)
#define REGISTER_KERNEL_BUILDER(builder, ...)                                       \
  static const ::tensorflow::KernelRegistration SDA_JOIN(sda_kernel_, __COUNTER__)( \
      ::tensorflow::register_kernel::builder,                                       \
      [](::tensorflow::OpKernelConstruction* ctx) -> ::tensorflow::OpKernel* { return new __VA_ARGS__(ctx); })
