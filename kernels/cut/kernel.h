// What SdaCut is on every device: its attributes and checks. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include "../op.h"
#include "settings.h"

namespace sda {

class CutKernel : public OpKernel {
 public:
  explicit CutKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("stream", &stream_));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &logits = ctx->input(0), &settings = ctx->input(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaCut", "settings", settings, {-1, kCutSettings}));
    OP_REQUIRES_OK(ctx, check_shape("SdaCut", "logits", logits, {-1, -1}));
    const int64_t B = settings.dim_size(0), V = logits.dim_size(1);
    const int64_t S = B > 0 ? logits.dim_size(0) / B : stream_ + 1;
    OP_REQUIRES(ctx, V > 0 && stream_ < S && logits.dim_size(0) == S * B,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaCut: logits must have the shape [S B, V] with V > 0 for ", B, " queries and stream ", stream_,
                    " among the S, but have ", logits.shape().DebugString(), ".")));
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({B}), &output));
    const Cutting cutting = {logits.flat<float>().data() + stream_ * V, settings.flat<float>().data(), B, S * V, V,
                             output->flat<float>().data()};
    OP_REQUIRES_OK(ctx, run(ctx, cutting));
  }

 protected:
  // Memory of the device. `logits`: of the stream of the first query; the next query's are `apart` further.
  struct Cutting {
    const float *logits, *settings;
    int64_t B, apart, V;
    float* least;
  };
  virtual absl::Status run(OpKernelContext* ctx, const Cutting& cutting) const = 0;

 private:
  int64_t stream_;
};

}  // namespace sda
