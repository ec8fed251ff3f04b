// SdaLinear on an NVIDIA GPU: cuda.cu on TensorFlow's stream.

#if defined(SDA_CUDA)

#include "../gpu.h"
#include "gpu_weights.h"
#include "kernel.h"

namespace sda {

class LinearGpuOp : public LinearKernel {
 public:
  using LinearKernel::LinearKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const Linear& call) const override {
    const auto& [x, weight, bias, norm, residual, epsilon, M, y] = call;
    const cuda::Weights weights = weights_of(*weight, told_.of(0));
    if (M == 0 || weights.N == 0) return absl::OkStatus();
    TF_RETURN_IF_ERROR(check_taken("SdaLinear", weights));
    Tensor scratch;
    TF_RETURN_IF_ERROR(allocate_bytes(ctx, cuda::linear_scratch_bytes(weights, M), &scratch));
    cuda::linear(weights, {x, M, norm, epsilon}, bias, residual, y, scratch.data(), stream_of(ctx));
    return launched("SdaLinear");
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaLinear").Device(tensorflow::DEVICE_GPU).TypeConstraint("T", kGpuWeightTypes),
                        LinearGpuOp);
SDA_GPU_OPERATION(SdaLinear);

}  // namespace sda

#endif
