// What SdaLinear is on every device: its attributes and checks. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include "../op.h"
#include "matrix.h"

namespace sda {

class LinearKernel : public OpKernel {
 public:
  explicit LinearKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_bias", &has_bias_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_norm", &has_norm_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_residual", &has_residual_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES_OK(ctx, told_.read(ctx, 1));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& x = ctx->input(0);
    const Tensor& weight = ctx->input(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "x", x, {-1, -1}));
    const int64_t M = x.dim_size(0), K = x.dim_size(1);
    OP_REQUIRES_OK(ctx, check_matrix("SdaLinear", "weight", weight, -1, K, 1, told_.of(0)));
    const int64_t N = rows_of(weight, told_.of(0));
    if (has_bias_) OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "bias", ctx->input(2), {N}));
    if (has_norm_) OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "norm", ctx->input(3), {K}));
    if (has_residual_)
      OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "residual", ctx->input(4), {M, N}));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({M, N}), &y));
    const Linear call = {x.flat<float>().data(),
                         &weight,
                         values_if(has_bias_, ctx->input(2)),
                         values_if(has_norm_, ctx->input(3)),
                         values_if(has_residual_, ctx->input(4)),
                         epsilon_,
                         M,
                         y->flat<float>().data()};
    OP_REQUIRES_OK(ctx, run(ctx, call));
  }

 protected:
  // Memory of the device; what is absent is null.
  struct Linear {
    const float* x;
    const Tensor* weight;
    const float *bias, *norm, *residual;
    float epsilon;
    int64_t M;
    float* y;
  };
  virtual absl::Status run(OpKernelContext* ctx, const Linear& call) const = 0;

  ToldShapes told_;

 private:
  bool has_bias_, has_norm_, has_residual_;
  float epsilon_;
};

}  // namespace sda
