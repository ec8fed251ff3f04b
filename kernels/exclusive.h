// Variables that an operation writes into: for operations whose kernels differ in how they copy.
#pragma once

#include "op.h"

namespace sda {

// Gives a variable memory of its own where a reader still holds it. `copy(ctx, from, to)` copies all of a tensor.
template <typename Copy>
absl::Status make_exclusive(OpKernelContext* ctx, Tensor& variable, const Copy& copy) {
  if (variable.RefCountIsOne()) return absl::OkStatus();
  Tensor own;
  TF_RETURN_IF_ERROR(ctx->allocate_temp(variable.dtype(), variable.shape(), &own));
  TF_RETURN_IF_ERROR(copy(ctx, variable, &own));
  variable = own;
  return absl::OkStatus();
}

}  // namespace sda
