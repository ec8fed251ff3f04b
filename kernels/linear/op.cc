// SdaLinear: y = norm(x) W^T + bias + residual.
//
//   x [M, K] float32, W [N, K] float32 / bfloat16 / float16 or quantised (matrix.h), bias [N], norm [K], residual [M, N] float32
//   norm(x) = x / sqrt(mean(x^2) + epsilon) * norm
//
// Fused: RMSNorm of the input (computed once, into the order in which weights unpack), the product, bias and
// residual. One pass over the weights. Bytes of a decoding call: those of the weights; x and y are small.

#include "../op.h"
#include "kernel.h"
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
    .Attr("T: {float, bfloat16, half, int32}")
    .Attr("has_bias: bool")
    .Attr("has_norm: bool")
    .Attr("has_residual: bool")
    .Attr("epsilon: float")
    .Attr(SDA_TOLD_SHAPES)
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
      c->set_output(0, c->Matrix(c->Dim(x, 0), c->UnknownDim()));
      return absl::OkStatus();
    });

class LinearOp : public LinearKernel {
 public:
  using LinearKernel::LinearKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const Linear& call) const override {
    const auto& [x, weight, bias, norm, residual, epsilon, M, y] = call;
    PackedRows packed;
    TF_RETURN_IF_ERROR(packed.allocate(ctx, M, *weight));
    const auto emit = add_to(y, M, rows_of(*weight), bias, residual);
    run_phases(ctx, {pack_phase(x, norm, epsilon, *weight, packed), project_phase(*weight, 1, packed, emit)});
    return absl::OkStatus();
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaLinear").Device(tensorflow::DEVICE_CPU), LinearOp);
SDA_OPERATION(SdaLinear);

}  // namespace sda
