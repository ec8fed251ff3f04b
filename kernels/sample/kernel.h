// What SdaSample is on every device: its attributes and checks. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include <vector>

#include "../op.h"
#include "settings.h"

namespace sda {

class SampleKernel : public OpKernel {
 public:
  explicit SampleKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    std::vector<int64_t> kinds;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("kinds", &kinds));
    OP_REQUIRES(ctx, kinds.size() == 2,
                absl::InvalidArgumentError(
                    absl::StrCat("SdaSample: kinds must be 2 numbers, top-k and greedy, but are ", kinds.size(), ".")));
    kinds_ = {kinds[0] != 0, static_cast<Greedy>(kinds[1])};
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &log_probs = ctx->input(0), &logits = ctx->input(1), &stats = ctx->input(2);
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "log_probs", log_probs, {-1, -1}));
    const int64_t B = log_probs.dim_size(0), V = log_probs.dim_size(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "logits", logits, {-1, V}));
    const int64_t S = B > 0 ? logits.dim_size(0) / B : 1;
    OP_REQUIRES(ctx, V > 0 && S >= 1 && S <= kMostStreams && logits.dim_size(0) == S * B,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaSample: logits must have the shape [S B, ", V, "] with 1 to ", kMostStreams, " streams for ", B,
                    " queries, and V > 0, but have ", logits.shape().DebugString(), ".")));
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "stats", stats, {B, -1}));
    const int64_t width = stats.dim_size(1);
    OP_REQUIRES(ctx, width >= step_stats_width(S, false),
                absl::InvalidArgumentError(absl::StrCat("SdaSample: stats must have at least ",
                                                        step_stats_width(S, false), " columns for ", S,
                                                        " streams, but have ", width, ".")));
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "settings", ctx->input(3), {B, kSampleSettings}));
    OP_REQUIRES_OK(ctx, check_shape("SdaSample", "uniforms", ctx->input(4), {B}));
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({B, draw_width(S, width)}), &output));
    const Draws draws = {log_probs.flat<float>().data(),
                         logits.flat<float>().data(),
                         stats.flat<float>().data(),
                         ctx->input(3).flat<float>().data(),
                         ctx->input(4).flat<float>().data(),
                         B,
                         S,
                         V,
                         width,
                         output->flat<float>().data()};
    OP_REQUIRES_OK(ctx, run(ctx, kinds_, draws));
  }

 protected:
  // Memory of the device.
  struct Draws {
    const float *log_probs, *logits, *stats, *settings, *uniforms;
    int64_t B, S, V, stats_width;
    float* draw;
  };
  virtual absl::Status run(OpKernelContext* ctx, const SampleKinds& kinds, const Draws& draws) const = 0;

 private:
  SampleKinds kinds_;
};

}  // namespace sda
