// The names of the operations in the addon: each op.cc adds its own with SDA_OPERATION(name), and each op_gpu.cc with
// SDA_GPU_OPERATION(name).
#pragma once

#include <vector>

namespace sda {

inline std::vector<const char*>& operation_names() {
  static std::vector<const char*> names;
  return names;
}

inline std::vector<const char*>& gpu_operation_names() {
  static std::vector<const char*> names;
  return names;
}

struct NamedOperation {
  NamedOperation(std::vector<const char*>& names, const char* name) { names.push_back(name); }
};

}  // namespace sda

#define SDA_OPERATION(name) static const sda::NamedOperation sda_named_##name(sda::operation_names(), #name)
#define SDA_GPU_OPERATION(name) \
  static const sda::NamedOperation sda_named_##name(sda::gpu_operation_names(), #name)
