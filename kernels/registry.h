// The names of the operations in the addon: each op.cc adds its own with SDA_OPERATION(name).
#pragma once

#include <vector>

namespace sda {

inline std::vector<const char*>& operation_names() {
  static std::vector<const char*> names;
  return names;
}

struct NamedOperation {
  explicit NamedOperation(const char* name) { operation_names().push_back(name); }
};

}  // namespace sda

#define SDA_OPERATION(name) static const sda::NamedOperation sda_named_##name(#name)
