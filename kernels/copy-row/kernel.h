// What SdaCopyRow is on every device: checks and variables. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include <vector>

#include "../exclusive.h"
#include "../op.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace sda {

// Of one variable: `bytes` from the beginning of each head of a row to that of another row; heads are `stride` apart.
struct RowCopy {
  const char* from;
  char* to;
  int64_t heads, stride, bytes;
};

class CopyRowKernel : public OpKernel {
 public:
  explicit CopyRowKernel(OpKernelConstruction* ctx) : OpKernel(ctx) { OP_REQUIRES_OK(ctx, ctx->GetAttr("N", &N_)); }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& places = ctx->input(N_);
    OP_REQUIRES_OK(ctx, check_shape("SdaCopyRow", "places", places, {3}));
    const int32_t* place = places.flat<int32_t>().data();
    std::vector<Variable> variables(N_);
    for (int i = 0; i < N_; i++) {
      OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, i), &variables[i]));
      tensorflow::mutex_lock lock(*variables[i]->mu());
      OP_REQUIRES_OK(ctx, check(variables[i]->tensor()->shape(), place[0], place[1], place[2]));
    }
    if (place[0] == place[1] || place[2] == 0) return;
    const auto copy = [this](OpKernelContext* c, const Tensor& from, Tensor* to) { return copy_all(c, from, to); };
    std::vector<Tensor> memory(N_);  // stays while it is copied
    std::vector<RowCopy> copies(N_);
    for (int i = 0; i < N_; i++) {
      tensorflow::mutex_lock lock(*variables[i]->mu());
      Tensor& rows = *variables[i]->tensor();
      OP_REQUIRES_OK(ctx, make_exclusive(ctx, rows, copy));
      memory[i] = rows;
      copies[i] = row_copy(rows, place[0], place[1], place[2]);
    }
    OP_REQUIRES_OK(ctx, run(ctx, copies));
  }

 protected:
  virtual absl::Status run(OpKernelContext* ctx, const std::vector<RowCopy>& copies) const = 0;
  virtual absl::Status copy_all(OpKernelContext* ctx, const Tensor& from, Tensor* to) const = 0;

 private:
  using Variable = tensorflow::core::RefCountPtr<tensorflow::Var>;

  static absl::Status check(const TensorShape& shape, int32_t from, int32_t to, int32_t length) {
    if (shape.dims() != 4) {
      return absl::InvalidArgumentError(absl::StrCat(
          "SdaCopyRow: a variable must have the shape [rows, heads, capacity, size], but has ", shape.DebugString(), "."));
    }
    const int64_t rows = shape.dim_size(0), capacity = shape.dim_size(2);
    if (from < 0 || from >= rows || to < 0 || to >= rows) {
      return absl::InvalidArgumentError(absl::StrCat("SdaCopyRow: rows must lie in 0..", rows - 1, ", but are ", from,
                                                     " and ", to, "."));
    }
    if (length >= 0 && length <= capacity) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("SdaCopyRow: length must lie in 0..", capacity, " (the capacity), but is ", length, "."));
  }

  static RowCopy row_copy(const Tensor& variable, int64_t from, int64_t to, int64_t length) {
    const int64_t bytes = variable.TotalBytes(), row = bytes / variable.dim_size(0);
    const int64_t heads = variable.dim_size(1), stride = row / heads;
    char* const begin = static_cast<char*>(variable.data());
    return {begin + from * row, begin + to * row, heads, stride, stride / variable.dim_size(2) * length};
  }

  int N_;
};

}  // namespace sda
