// What SdaStep is on every device: its attributes and checks. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include <string>

#include "../op.h"
#include "kinds.h"

namespace sda {

class StepKernel : public OpKernel {
 public:
  explicit StepKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    std::vector<int64_t> pair;
    std::string weights, mask, temperature;
    int64_t anchor, mask_stream;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("anchor", &anchor));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("pair", &pair));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("weights", &weights));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("mask", &mask));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("mask_stream", &mask_stream));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("temperature", &temperature));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("details", &kinds_.details));
    OP_REQUIRES(ctx, pair.size() == 2, absl::InvalidArgumentError(absl::StrCat(
                                           "SdaStep: pair must name 2 streams, but names ", pair.size(), ".")));
    for (const int64_t stream : {anchor, pair[0], pair[1], mask_stream}) {
      OP_REQUIRES(ctx, stream >= 0 && stream < kMostStreams,
                  absl::InvalidArgumentError(absl::StrCat("SdaStep: streams are numbered from 0 to ", kMostStreams - 1,
                                                          ", but one is ", stream, ".")));
      most_ = std::max(most_, stream);
    }
    kinds_.anchor = static_cast<int>(anchor);
    for (int i = 0; i < 2; i++) kinds_.pair[i] = static_cast<int>(pair[i]);
    kinds_.mask_stream = static_cast<int>(mask_stream);
    kinds_.js_weights = weights == "js";
    kinds_.mask = mask == "plausible" ? Mask::kPlausible : mask == "least" ? Mask::kLeast : Mask::kNone;
    kinds_.temperature = temperature == "divergence" ? Temperature::kDivergence
                         : temperature == "entropy"  ? Temperature::kEntropy
                                                     : Temperature::kFixed;
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
