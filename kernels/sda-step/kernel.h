// What SdaStep is on every device: its attributes and checks. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include "../op.h"
#include "math.h"

namespace sda {

class StepKernel : public OpKernel {
 public:
  explicit StepKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("t0", &settings_.t0));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("sigma", &settings_.sigma));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("t_min", &settings_.t_min));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("plausibility", &settings_.plausibility));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("base", &settings_.base));
    OP_REQUIRES(ctx, settings_.t0 > 0.0f && settings_.sigma > 0.0f && settings_.t_min >= 0.0f &&
                         settings_.plausibility >= 0.0f && settings_.plausibility <= 1.0f,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaStep: t0 and sigma must be above 0, t_min at least 0 and plausibility in 0..1, "
                    "but they are ", settings_.t0, ", ", settings_.sigma, ", ", settings_.t_min, ", ",
                    settings_.plausibility, ".")));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& logits = ctx->input(0);
    const Tensor& strength = ctx->input(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaStep", "strength", strength, {-1}));
    const int64_t B = strength.dim_size(0);
    OP_REQUIRES_OK(ctx, check_shape("SdaStep", "logits", logits, {-1, -1}));
    const int64_t V = logits.dim_size(1);
    const int64_t S = B > 0 ? logits.dim_size(0) / B : 0;
    OP_REQUIRES(ctx, V > 0 && (S == 1 || S == 2) && logits.dim_size(0) == S * B,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaStep: logits must have the shape [", B, " or ", 2 * B, ", V] with V > 0 for ", B,
                    " queries, but have ", logits.shape().DebugString(), ".")));
    Tensor *log_probs = nullptr, *stats = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({B, V}), &log_probs));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(1, TensorShape({B, kStats}), &stats));
    const Step step = {logits.flat<float>().data(), strength.flat<float>().data(), B, S, V,
                       log_probs->flat<float>().data(), stats->flat<float>().data()};
    OP_REQUIRES_OK(ctx, run(ctx, settings_, step));
  }

 protected:
  // Memory of the device.
  struct Step {
    const float *logits, *strength;
    int64_t B, S, V;
    float *log_probs, *stats;
  };
  virtual absl::Status run(OpKernelContext* ctx, const StepSettings& settings, const Step& step) const = 0;

 private:
  StepSettings settings_;
};

}  // namespace sda
