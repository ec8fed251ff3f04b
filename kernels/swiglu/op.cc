// SdaSwiglu: y = silu(h G^T) * (h U^T) with h = norm(x), silu(z) = z / (1 + e^-z).
//
//   x [M, K] float32; gate_up [2 I, K] float32 / bfloat16 / float16: the rows of G, then those of U;
//   bias [2 I], norm [K] float32; y [M, I]
//
// Fused: RMSNorm of the input, both products, the activation and the product of the two. One pass over the
// weights; a thread meets row i of G and row i of U together, so the two halves never reach memory.

#include "../op.h"
#include "../linear/project.h"
#include "../math.h"

namespace sda {

// An absent bias is marked by its attribute; x stands in its place.
REGISTER_OP("SdaSwiglu")
    .Input("x: float")
    .Input("gate_up: T")
    .Input("bias: float")
    .Input("norm: float")
    .Output("y: float")
    .Attr("T: {float, bfloat16, half}")
    .Attr("has_bias: bool")
    .Attr("epsilon: float")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, weight;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &weight));
      DimensionHandle depth, half;
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(x, 1), c->Dim(weight, 1), &depth));
      TF_RETURN_IF_ERROR(c->Divide(c->Dim(weight, 0), 2, true, &half));
      c->set_output(0, c->Matrix(c->Dim(x, 0), half));
      return absl::OkStatus();
    });

// e^88 is near the largest float32; beyond it the quotient is 0 to float32 all the same.
inline float silu(float z) { return z / (1.0f + exp_fast(min_of(-z, 88.0f))); }

class SwigluOp : public OpKernel {
 public:
  explicit SwigluOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_bias", &has_bias_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& x = ctx->input(0);
    const Tensor& weight = ctx->input(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaSwiglu", "x", x, {-1, -1}));
    const int64_t M = x.dim_size(0), K = x.dim_size(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaSwiglu", "gate_up", weight, {-1, K}));
    OP_REQUIRES(ctx, weight.dim_size(0) % 2 == 0,
                absl::InvalidArgumentError(
                    absl::StrCat("SdaSwiglu: gate_up must have an even number of rows, but has ",
                                 weight.dim_size(0), ".")));
    const int64_t I = weight.dim_size(0) / 2;
    if (has_bias_) OP_REQUIRES_OK(ctx, check_shape("SdaSwiglu", "bias", ctx->input(2), {2 * I}));
    OP_REQUIRES_OK(ctx, check_shape("SdaSwiglu", "norm", ctx->input(3), {K}));
    const float* bias = values_if(has_bias_, ctx->input(2));
    const float* norm = ctx->input(3).flat<float>().data();

    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({M, I}), &output));
    float* y = output->flat<float>().data();
    const auto emit = [=](int64_t n, int64_t count, const float* dots) {
      for (int64_t m = 0; m < M; m++) {
        for (int64_t r = 0; r < count; r++) {
          float gate = dots[r * M + m];
          float up = dots[(count + r) * M + m];
          if (bias) {
            gate += bias[n + r];
            up += bias[I + n + r];
          }
          y[m * I + n + r] = silu(gate) * up;
        }
      }
    };
    norm_and_project(ctx, x, weight, 2, norm, epsilon_, emit);
  }

 private:
  bool has_bias_;
  float epsilon_;
};

REGISTER_KERNEL_BUILDER(Name("SdaSwiglu").Device(tensorflow::DEVICE_CPU), SwigluOp);
SDA_OPERATION(SdaSwiglu);

}  // namespace sda
