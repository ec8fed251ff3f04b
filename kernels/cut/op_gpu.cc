// SdaCut on an NVIDIA GPU: cuda.cu on TensorFlow's stream.

#if defined(SDA_CUDA)

#include "../gpu.h"
#include "../sample/cuda.h"
#include "cuda.h"
#include "kernel.h"

namespace sda {

class SdaCutGpuOp : public CutKernel {
 public:
  using CutKernel::CutKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const Cutting& cutting) const override {
    const auto& [logits, settings, B, apart, V, least] = cutting;
    if (B == 0) return absl::OkStatus();
    if (V > cuda::kMostTokens) {
      return absl::UnimplementedError(
          absl::StrCat("SdaCut: a GPU cuts at most ", cuda::kMostTokens, " tokens, but there are ", V, "."));
    }
    cuda::cut(logits, settings, B, apart, V, least, stream_of(ctx));
    return launched("SdaCut");
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaCut").Device(tensorflow::DEVICE_GPU), SdaCutGpuOp);
SDA_GPU_OPERATION(SdaCut);

}  // namespace sda

#endif
