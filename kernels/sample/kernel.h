// What SdaSample is on every device: its attributes and checks. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include "../op.h"
#include "settings.h"

namespace sda {

class SampleKernel : public OpKernel {
 public:
  explicit SampleKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("top_k", &settings_.top_k));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("top_p", &settings_.top_p));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("min_p", &settings_.min_p));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("greedy", &settings_.greedy));
    const auto& [top_k, top_p, min_p, greedy] = settings_;
    OP_REQUIRES(ctx, top_p >= 0.0f && top_p <= 1.0f && min_p >= 0.0f && min_p <= 1.0f,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaSample: top_p and min_p must lie in 0..1, but are ", top_p, " and ", min_p, ".")));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& log_probs = ctx->input(0);
    const Tensor& logits = ctx->input(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "log_probs", log_probs, {-1, -1}));
    const int64_t B = log_probs.dim_size(0), V = log_probs.dim_size(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "logits", logits, {-1, V}));
    const int64_t S = B > 0 ? logits.dim_size(0) / B : 0;
    OP_REQUIRES(ctx, V > 0 && (S == 1 || S == 2) && logits.dim_size(0) == S * B,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaSample: logits must have the shape [", B, " or ", 2 * B, ", ", V,
                    "], none of them 0, but have ", logits.shape().DebugString(), ".")));
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "stats", ctx->input(2), {B, kStatsWidth}));
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "uniforms", ctx->input(3), {B}));
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({B, kDrawWidth}), &output));
    const Draws draws = {log_probs.flat<float>().data(),
                         logits.flat<float>().data(),
                         ctx->input(2).flat<float>().data(),
                         ctx->input(3).flat<float>().data(),
                         B,
                         S,
                         V,
                         output->flat<float>().data()};
    OP_REQUIRES_OK(ctx, run(ctx, settings_, draws));
  }

 protected:
  // Memory of the device.
  struct Draws {
    const float *log_probs, *logits, *stats, *uniforms;
    int64_t B, S, V;
    float* draw;
  };
  virtual absl::Status run(OpKernelContext* ctx, const SampleSettings& settings, const Draws& draws) const = 0;

 private:
  SampleSettings settings_;
};

}  // namespace sda
