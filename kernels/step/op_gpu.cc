// SdaStep on an NVIDIA GPU: cuda.cu on TensorFlow's stream.

#if defined(SDA_CUDA)

#include "../gpu.h"
#include "cuda.h"
#include "kernel.h"

namespace sda {

class SdaStepGpuOp : public StepKernel {
 public:
  using StepKernel::StepKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const StepKinds& kinds, const Step& step) const override {
    if (step.B == 0) return absl::OkStatus();
    Tensor scratch;
    TF_RETURN_IF_ERROR(
        allocate_bytes(ctx, cuda::step_scratch_bytes(step.B, step.S, step.V, kinds.details), &scratch));
    cuda::step(kinds, step.logits, step.numbers, step.least, step.B, step.S, step.V, step.log_probs, step.stats,
               scratch.data(), stream_of(ctx));
    return launched("SdaStep");
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaStep").Device(tensorflow::DEVICE_GPU), SdaStepGpuOp);
SDA_GPU_OPERATION(SdaStep);

}  // namespace sda

#endif
