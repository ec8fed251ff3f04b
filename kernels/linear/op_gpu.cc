// SdaLinear on an NVIDIA GPU: cuda.cu on TensorFlow's stream. Compiled only; it has not run.

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
    const int64_t K = weight->dim_size(1);
    if (M == 0 || weight->dim_size(0) == 0) return absl::OkStatus();
    Tensor normed;
    const float* from = x;
    if (norm) {
      TF_RETURN_IF_ERROR(ctx->allocate_temp(DT_FLOAT, TensorShape({M, K}), &normed));
      cuda::rms_norm(x, norm, epsilon, M, K, normed.flat<float>().data(), stream_of(ctx));
      from = normed.flat<float>().data();
    }
    cuda::linear(weights_of(*weight), from, bias, residual, M, y, stream_of(ctx));
    return launched("SdaLinear");
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaLinear").Device(tensorflow::DEVICE_GPU), LinearGpuOp);
SDA_GPU_OPERATION(SdaLinear);

}  // namespace sda

#endif
