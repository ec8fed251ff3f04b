// Checks of an operation's inputs. Every error names operation, input, expected and found shape.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace sda {

// Ok when the tensor has this shape; -1 stands for any size.
inline absl::Status check_shape(const char* op, const char* input,
                                const tensorflow::Tensor& tensor,
                                std::initializer_list<int64_t> expected) {
  bool matches = tensor.dims() == static_cast<int>(expected.size());
  int axis = 0;
  std::string wanted;
  for (int64_t size : expected) {
    if (matches && size >= 0 && tensor.dim_size(axis) != size) matches = false;
    wanted += (axis++ ? ", " : "") + (size < 0 ? std::string("any") : std::to_string(size));
  }
  if (matches) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(op, ": ", input, " must have the shape [", wanted,
                                                 "], but has ", tensor.shape().DebugString(), "."));
}

}  // namespace sda
