// SdaMlp: y = x + down(silu(gate(h)) * up(h)), h = norm(x), silu(z) = z / (1 + e^-z).
//
//   x [M, K], norm [K] float32; gate_up [2 I, K]: the rows of gate, then those of up; down [K, I]: float32,
//   bfloat16 or float16; gate_up_bias [2 I], down_bias [K] float32; y [M, K]
//
// Fused: RMSNorm, the three products, the activation and the residual, as three phases of one operation. One pass
// over the weights; a thread meets row i of gate and of up together, and the activations [M, I] stay in the cache,
// in the order in which the rows of `down` unpack.

#include "../linear/project.h"
#include "../math.h"

namespace sda {

// An absent bias is marked by its attribute; x stands in its place.
REGISTER_OP("SdaMlp")
    .Input("x: float")
    .Input("norm: float")
    .Input("gate_up: Tup")
    .Input("gate_up_bias: float")
    .Input("down: Tdown")
    .Input("down_bias: float")
    .Output("y: float")
    .Attr("Tup: {float, bfloat16, half}")
    .Attr("Tdown: {float, bfloat16, half}")
    .Attr("has_bias: bool")
    .Attr("epsilon: float")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
      c->set_output(0, x);
      return absl::OkStatus();
    });

// e^88 is near the largest float32; beyond it the quotient is 0 to float32 all the same.
template <typename F>
inline F silu(F z) {
  return z / (1.0f + exp_fast(min_of(-z, splat<F>(88.0f))));
}

class MlpOp : public OpKernel {
 public:
  explicit MlpOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_bias", &has_bias_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &x = ctx->input(0), &gate_up = ctx->input(2), &down = ctx->input(4);
    OP_REQUIRES_OK(ctx, check_shape("SdaMlp", "x", x, {-1, -1}));
    const int64_t M = x.dim_size(0), K = x.dim_size(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaMlp", "norm", ctx->input(1), {K}));
    OP_REQUIRES_OK(ctx, check_shape("SdaMlp", "down", down, {K, -1}));
    const int64_t I = down.dim_size(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaMlp", "gate_up", gate_up, {2 * I, K}));
    if (has_bias_) {
      OP_REQUIRES_OK(ctx, check_shape("SdaMlp", "gate_up_bias", ctx->input(3), {2 * I}));
      OP_REQUIRES_OK(ctx, check_shape("SdaMlp", "down_bias", ctx->input(5), {K}));
    }
    const float* values = x.flat<float>().data();
    const float* bias = values_if(has_bias_, ctx->input(3));

    Tensor* y = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({M, K}), &y));
    PackedRows hidden, activations;
    OP_REQUIRES_OK(ctx, hidden.allocate(ctx, M, gate_up));
    OP_REQUIRES_OK(ctx, activations.allocate(ctx, M, down));
    for (int64_t m = 0; m < M; m++) activations.clear_end(m);
    const auto activate = [&](int64_t n, int64_t count, const float* dots) {
      const int64_t half = count * M;  // gates, then ups, of `count` columns for each row of x
      thread_local std::vector<float> values;
      values.resize(2 * half);
      std::copy_n(dots, 2 * half, values.data());
      float *gate = values.data(), *up = gate + half;
      if (bias) {
        for (int64_t i = 0; i < half; i++) {
          gate[i] += bias[n + i / M];
          up[i] += bias[I + n + i / M];
        }
      }
      int64_t i = 0;
      for (; i + kLanes <= half; i += kLanes) store(gate + i, silu(load(gate + i)) * load(up + i));
      for (; i < half; i++) gate[i] = silu(gate[i]) * up[i];
      for (int64_t r = 0; r < count; r++) {
        const int64_t place = activations.index(n + r);
        for (int64_t m = 0; m < M; m++) activations.row(m)[place] = gate[r * M + m];
      }
    };
    const float* down_bias = values_if(has_bias_, ctx->input(5));
    const auto emit = add_to(y->flat<float>().data(), M, K, down_bias, values);
    run_phases(ctx, {pack_phase(values, ctx->input(1).flat<float>().data(), epsilon_, gate_up, hidden),
                     project_phase(gate_up, 2, hidden, activate),
                     project_phase(down, 1, activations, emit)});
  }

 private:
  bool has_bias_;
  float epsilon_;
};

REGISTER_KERNEL_BUILDER(Name("SdaMlp").Device(tensorflow::DEVICE_CPU), MlpOp);
SDA_OPERATION(SdaMlp);

}  // namespace sda
