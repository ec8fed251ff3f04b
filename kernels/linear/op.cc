// SdaLinear: y = norm(x) W^T + bias + residual.
//
//   x [M, K] float32, W [N, K] float32 / bfloat16 / float16, bias [N], norm [K], residual [M, N] float32
//   norm(x) = x / sqrt(mean(x^2) + epsilon) * norm
//
// Fused: RMSNorm of the input (computed once, into the order in which weights unpack), the product, bias and
// residual. One pass over the weights. Bytes of a decoding call: those of the weights; x and y are small.

#include "../op.h"
#include "project.h"

namespace sda {

// An absent input (bias, norm, residual) is marked by its attribute; x stands in its place.
REGISTER_OP("SdaLinear")
    .Input("x: float")
    .Input("weight: T")
    .Input("bias: float")
    .Input("norm: float")
    .Input("residual: float")
    .Output("y: float")
    .Attr("T: {float, bfloat16, half}")
    .Attr("has_bias: bool")
    .Attr("has_norm: bool")
    .Attr("has_residual: bool")
    .Attr("epsilon: float")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, weight;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &weight));
      DimensionHandle depth;
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(x, 1), c->Dim(weight, 1), &depth));
      c->set_output(0, c->Matrix(c->Dim(x, 0), c->Dim(weight, 0)));
      return absl::OkStatus();
    });

class LinearOp : public OpKernel {
 public:
  explicit LinearOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_bias", &has_bias_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_norm", &has_norm_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_residual", &has_residual_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& x = ctx->input(0);
    const Tensor& weight = ctx->input(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "x", x, {-1, -1}));
    const int64_t M = x.dim_size(0), K = x.dim_size(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "weight", weight, {-1, K}));
    const int64_t N = weight.dim_size(0);
    if (has_bias_) OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "bias", ctx->input(2), {N}));
    if (has_norm_) OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "norm", ctx->input(3), {K}));
    if (has_residual_)
      OP_REQUIRES_OK(ctx, check_shape("SdaLinear", "residual", ctx->input(4), {M, N}));
    const float* bias = values_if(has_bias_, ctx->input(2));
    const float* norm = values_if(has_norm_, ctx->input(3));
    const float* residual = values_if(has_residual_, ctx->input(4));

    Tensor* y = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({M, N}), &y));
    PackedRows packed;
    OP_REQUIRES_OK(ctx, packed.allocate(ctx, M, weight));
    const auto emit = add_to(y->flat<float>().data(), M, N, bias, residual);
    run_phases(ctx, {pack_phase(x.flat<float>().data(), norm, epsilon_, weight, packed),
                     project_phase(weight, 1, packed, emit)});
  }

 private:
  bool has_bias_, has_norm_, has_residual_;
  float epsilon_;
};

REGISTER_KERNEL_BUILDER(Name("SdaLinear").Device(tensorflow::DEVICE_CPU), LinearOp);
SDA_OPERATION(SdaLinear);

}  // namespace sda
