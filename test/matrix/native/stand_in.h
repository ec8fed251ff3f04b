// Stands in for the part of TensorFlow that kernels/*/op.cc use, so that the operations compile and run for processors
// that there is no TensorFlow for here. Names and meanings are TensorFlow's. As there: operations run with subnormal
// numbers flushed to zero, on a pool of threads, and on memory that begins at multiples of 64 bytes; new memory holds
// NaN, so that what was not written shows.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#if defined(__SSE__)
#include <immintrin.h>
#endif

namespace absl {

class Status {
 public:
  Status() = default;
  explicit Status(std::string message) : ok_(false), message_(std::move(message)) {}
  bool ok() const { return ok_; }
  const std::string& message() const { return message_; }

 private:
  bool ok_ = true;
  std::string message_;
};
inline Status OkStatus() { return Status(); }
inline Status InvalidArgumentError(const std::string& message) { return Status(message); }

template <typename... Parts>
std::string StrCat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace absl

namespace Eigen {

struct half {
  uint16_t bits;
  explicit operator float() const {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float size = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-24f
                                     : static_cast<float>(mantissa | 1024) * __builtin_ldexpf(1.0f, exponent - 25);
    return bits & 0x8000 ? -size : size;
  }
};

}  // namespace Eigen

namespace tensorflow {

struct bfloat16 {
  uint16_t bits;
  explicit operator float() const {
    const uint32_t word = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &word, 4);
    return value;
  }
};

enum DataType { DT_FLOAT, DT_INT32, DT_BFLOAT16, DT_HALF, DT_RESOURCE };
template <typename T>
constexpr DataType type_of();
template <>
constexpr DataType type_of<float>() { return DT_FLOAT; }
template <>
constexpr DataType type_of<int32_t>() { return DT_INT32; }
template <>
constexpr DataType type_of<bfloat16>() { return DT_BFLOAT16; }
template <>
constexpr DataType type_of<Eigen::half>() { return DT_HALF; }

constexpr const char *DEVICE_CPU = "CPU", *DEVICE_GPU = "GPU";

using mutex = std::mutex;
using mutex_lock = std::lock_guard<std::mutex>;

class TensorShape {
 public:
  TensorShape() = default;
  TensorShape(std::initializer_list<int64_t> sizes) : sizes_(sizes) {}
  int dims() const { return static_cast<int>(sizes_.size()); }
  int64_t dim_size(int axis) const { return sizes_.at(axis); }
  int64_t num_elements() const { return std::accumulate(sizes_.begin(), sizes_.end(), int64_t{1}, std::multiplies<>()); }
  bool operator==(const TensorShape& other) const { return sizes_ == other.sizes_; }
  std::string DebugString() const {
    std::string text;
    for (int64_t size : sizes_) text += (text.empty() ? "" : ",") + std::to_string(size);
    return "[" + text + "]";
  }

 private:
  std::vector<int64_t> sizes_;
};

class ResourceBase {
 public:
  virtual ~ResourceBase() = default;
  virtual std::string DebugString() const = 0;
  void Ref() { count_++; }
  void Unref() { if (--count_ == 0) delete this; }

 private:
  int count_ = 1;
};

namespace core {
struct Release {
  void operator()(ResourceBase* resource) const { resource->Unref(); }
};
template <typename T>
using RefCountPtr = std::unique_ptr<T, Release>;
}  // namespace core

struct ResourceHandle {
  std::shared_ptr<ResourceBase> resource;
  static ResourceHandle MakeRefCountingHandle(ResourceBase* resource, const std::string&) {
    return {std::shared_ptr<ResourceBase>(resource, core::Release())};
  }
};

class Tensor {
 public:
  Tensor() = default;
  Tensor(DataType dtype, const TensorShape& shape) : dtype_(dtype), shape_(shape) {
    const size_t bytes = (TotalBytes() + 64) / 64 * 64;
    memory_.reset(static_cast<char*>(std::aligned_alloc(64, bytes)), std::free);
    std::memset(memory_.get(), 0xff, bytes);
    if (dtype == DT_RESOURCE) handle_ = std::make_shared<ResourceHandle>();
  }
  DataType dtype() const { return dtype_; }
  const TensorShape& shape() const { return shape_; }
  int dims() const { return shape_.dims(); }
  int64_t dim_size(int axis) const { return shape_.dim_size(axis); }
  int64_t NumElements() const { return memory_ ? shape_.num_elements() : 0; }
  size_t TotalBytes() const { return shape_.num_elements() * (dtype_ == DT_FLOAT || dtype_ == DT_INT32 ? 4 : 2); }
  void* data() const { return memory_.get(); }
  bool RefCountIsOne() const { return memory_.use_count() == 1; }

  template <typename T>
  struct Flat {
    T* at;
    T* data() const { return at; }
  };
  template <typename T>
  Flat<T> flat() const {
    if (type_of<T>() != dtype_) std::abort();
    return {reinterpret_cast<T*>(memory_.get())};
  }
  template <typename T>
  std::function<T&()> scalar() const {
    if (!handle_) std::abort();
    return [this]() -> T& { return *handle_; };
  }

 private:
  DataType dtype_ = DT_FLOAT;
  TensorShape shape_;
  std::shared_ptr<char> memory_;
  std::shared_ptr<ResourceHandle> handle_;
};

class Var : public ResourceBase {
 public:
  explicit Var(const Tensor& value) : value_(value) {}
  Tensor* tensor() { return &value_; }
  mutex* mu() { return &mutex_; }
  std::string DebugString() const override { return "a variable"; }

 private:
  Tensor value_;
  mutex mutex_;
};

// Threads that take what is scheduled. Never ended: the kernels' team may still be on them at exit.
class ThreadPool {
 public:
  explicit ThreadPool(int threads) {
    for (int i = 0; i < threads; i++) std::thread([this] { work(); }).detach();
  }
  void Schedule(std::function<void()> task) {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    wake_.notify_one();
  }

 private:
  [[noreturn]] void work();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
};

struct CpuWorkerThreads {
  int num_threads;
  ThreadPool* workers;
};

// SDA_CHECK_THREADS: how many threads an operation has; 3 where it is not set.
struct Device {
  const CpuWorkerThreads* tensorflow_cpu_worker_threads() const {
    static const CpuWorkerThreads threads = [] {
      const char* asked = std::getenv("SDA_CHECK_THREADS");
      const int count = asked ? std::atoi(asked) : 3;
      return CpuWorkerThreads{count, new ThreadPool(count)};
    }();
    return &threads;
  }
  std::string name() const { return "CPU"; }
};

// A number, or a list of them.
struct Attribute {
  std::vector<double> numbers;
  Attribute(double number) : numbers{number} {}
  Attribute(std::vector<double> list) : numbers(std::move(list)) {}

  template <typename T>
  void give(T* value) const { *value = static_cast<T>(numbers.at(0)); }
  template <typename T>
  void give(std::vector<T>* value) const { value->assign(numbers.begin(), numbers.end()); }
};
using Attributes = std::map<std::string, Attribute>;

class OpKernelConstruction {
 public:
  explicit OpKernelConstruction(const Attributes& attributes) : attributes_(attributes) {}
  template <typename T>
  absl::Status GetAttr(const char* name, T* value) const {
    const auto found = attributes_.find(name);
    if (found == attributes_.end()) return absl::Status(absl::StrCat("there is no attribute ", name));
    found->second.give(value);
    return absl::OkStatus();
  }
  // A list that is not given is empty: the default of those that have one.
  template <typename T>
  absl::Status GetAttr(const char* name, std::vector<T>* value) const {
    const auto found = attributes_.find(name);
    value->clear();
    if (found != attributes_.end()) found->second.give(value);
    return absl::OkStatus();
  }
  std::string device_type() const { return DEVICE_CPU; }
  void fail(const absl::Status& status) { status_ = status; }
  const absl::Status& status() const { return status_; }

 private:
  const Attributes& attributes_;
  absl::Status status_;
};

class OpKernelContext {
 public:
  explicit OpKernelContext(std::vector<Tensor> inputs) : inputs_(std::move(inputs)), outputs_(2) {}
  const Tensor& input(int index) const { return inputs_.at(index); }
  void set_output(int index, const Tensor& value) { outputs_.at(index) = value; }
  absl::Status allocate_output(int index, const TensorShape& shape, Tensor** output) {
    outputs_.at(index) = Tensor(shape.dims() == 0 ? DT_RESOURCE : DT_FLOAT, shape);  // scalars here are handles
    *output = &outputs_[index];
    return absl::OkStatus();
  }
  absl::Status allocate_temp(DataType type, const TensorShape& shape, Tensor* memory) const {
    *memory = Tensor(type, shape);
    return absl::OkStatus();
  }
  const Device* device() const { return &device_; }
  void fail(const absl::Status& status) { status_ = status; }
  const absl::Status& status() const { return status_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }

 private:
  std::vector<Tensor> inputs_, outputs_;
  Device device_;
  absl::Status status_;
};

inline const ResourceHandle& HandleFromInput(OpKernelContext* ctx, int index) {
  return ctx->input(index).scalar<ResourceHandle>()();
}
template <typename T>
absl::Status LookupResource(OpKernelContext*, const ResourceHandle& handle, core::RefCountPtr<T>* found) {
  T* const resource = dynamic_cast<T*>(handle.resource.get());
  if (!resource) return absl::Status("the handle is of another kind");
  resource->Ref();
  found->reset(resource);
  return absl::OkStatus();
}

class OpKernel {
 public:
  explicit OpKernel(OpKernelConstruction*) {}
  virtual ~OpKernel() = default;
  virtual void Compute(OpKernelContext* ctx) = 0;
};

// Runs one operation; ends the program where it reports an error.
std::vector<Tensor> execute(const std::string& name, const Attributes& attributes, const std::vector<Tensor>& inputs);

}  // namespace tensorflow

#define OP_REQUIRES(ctx, condition, error) \
  do {                                     \
    if (!(condition)) {                    \
      (ctx)->fail(error);                  \
      return;                              \
    }                                      \
  } while (0)
#define OP_REQUIRES_OK(ctx, expression)                      \
  do {                                                       \
    const absl::Status sda_status = (expression);            \
    OP_REQUIRES(ctx, sda_status.ok(), sda_status);           \
  } while (0)
#define TF_RETURN_IF_ERROR(expression)            \
  do {                                            \
    const absl::Status sda_status = (expression); \
    if (!sda_status.ok()) return sda_status;      \
  } while (0)

#include "stand_in_registry.h"
