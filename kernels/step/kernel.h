// What SdaStep is on every device: its attributes and checks. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include <algorithm>
#include <vector>

#include "../op.h"
#include "kinds.h"

namespace sda {

class StepKernel : public OpKernel {
 public:
  explicit StepKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    std::vector<int64_t> kinds;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("kinds", &kinds));
    OP_REQUIRES(ctx, kinds.size() == kStepKinds,
                absl::InvalidArgumentError(
                    absl::StrCat("SdaStep: kinds must be ", kStepKinds, " numbers, but are ", kinds.size(), ".")));
    for (const int at : {kAnchor, kPair, kPairSecond, kMaskStream}) {
      OP_REQUIRES(ctx, kinds[at] >= 0 && kinds[at] < kMostStreams,
                  absl::InvalidArgumentError(absl::StrCat("SdaStep: streams are numbered from 0 to ", kMostStreams - 1,
                                                          ", but one is ", kinds[at], ".")));
      most_ = std::max(most_, kinds[at]);
    }
    const auto number = [&](StepKind at) { return static_cast<int>(kinds[at]); };
    kinds_ = {number(kAnchor),
              {number(kPair), number(kPairSecond)},
              kinds[kWeights] != 0,
              static_cast<Mask>(number(kMask)),
              number(kMaskStream),
              static_cast<Temperature>(number(kTemperatureRule)),
              kinds[kDetails] != 0};
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &logits = ctx->input(0), &numbers = ctx->input(1), &least = ctx->input(2);
    OP_REQUIRES_OK(ctx, check_shape("SdaStep", "numbers", numbers, {-1, -1}));
    OP_REQUIRES_OK(ctx, check_shape("SdaStep", "logits", logits, {-1, -1}));
    const int64_t B = numbers.dim_size(0), S = numbers.dim_size(1) - kStepNumbers, V = logits.dim_size(1);
    OP_REQUIRES(ctx, S > most_ && S <= kMostStreams,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaStep: numbers must have ", kStepNumbers, " columns and one for each of 1 to ", kMostStreams,
                    " streams, stream ", most_, " among them, but have the shape ", numbers.shape().DebugString(), ".")));
    OP_REQUIRES(ctx, V > 0 && logits.dim_size(0) == S * B,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaStep: logits must have the shape [", S * B, ", V] with V > 0 for ", B, " queries of ", S,
                    " streams, but have ", logits.shape().DebugString(), ".")));
    const bool has_least = kinds_.mask == Mask::kLeast;
    if (has_least) OP_REQUIRES_OK(ctx, check_shape("SdaStep", "least", least, {B}));
    Tensor *log_probs = nullptr, *stats = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({B, V}), &log_probs));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(1, TensorShape({B, step_stats_width(S, kinds_.details)}), &stats));
    const Step step = {logits.flat<float>().data(), numbers.flat<float>().data(), values_if(has_least, least), B, S, V,
                       log_probs->flat<float>().data(), stats->flat<float>().data()};
    OP_REQUIRES_OK(ctx, run(ctx, kinds_, step));
  }

 protected:
  // Memory of the device.
  struct Step {
    const float *logits, *numbers, *least;
    int64_t B, S, V;
    float *log_probs, *stats;
  };
  virtual absl::Status run(OpKernelContext* ctx, const StepKinds& kinds, const Step& step) const = 0;

 private:
  StepKinds kinds_;
  int64_t most_ = 0;  // the highest stream that the attributes name
};

}  // namespace sda
