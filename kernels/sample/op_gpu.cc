// SdaSample on an NVIDIA GPU: cuda.cu on TensorFlow's stream.

#if defined(SDA_CUDA)

#include "../gpu.h"
#include "cuda.h"
#include "kernel.h"

namespace sda {

class SdaSampleGpuOp : public SampleKernel {
 public:
  using SampleKernel::SampleKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const SampleKinds& kinds, const Draws& draws) const override {
    const auto& [log_probs, logits, stats, settings, uniforms, B, S, V, stats_width, draw] = draws;
    if (B == 0) return absl::OkStatus();
    if (V > cuda::kMostTokens) {
      return absl::UnimplementedError(absl::StrCat("SdaSample: a GPU draws from at most ", cuda::kMostTokens,
                                                   " tokens, but there are ", V, "."));
    }
    Tensor scratch;
    TF_RETURN_IF_ERROR(allocate_bytes(ctx, cuda::sample_scratch_bytes(B, V), &scratch));
    cuda::sample(kinds, {log_probs, logits, stats, settings, uniforms, B, S, V, stats_width}, draw, scratch.data(),
                 stream_of(ctx));
    return launched("SdaSample");
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaSample").Device(tensorflow::DEVICE_GPU), SdaSampleGpuOp);
SDA_GPU_OPERATION(SdaSample);

}  // namespace sda

#endif
