// SdaEmbed on an NVIDIA GPU: cuda.cu on TensorFlow's stream.

#if defined(SDA_CUDA)

#include "../gpu.h"
#include "../linear/gpu_weights.h"
#include "../upload/cuda.h"
#include "cuda.h"
#include "kernel.h"

namespace sda {

class EmbedGpuOp : public EmbedKernel {
 public:
  using EmbedKernel::EmbedKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const Embed& call) const override {
    const auto& [table, ids, drawn, W, N, x] = call;
    if (N == 0) return absl::OkStatus();
    const cuda::Weights weights = weights_of(table, told_.of(0));
    TF_RETURN_IF_ERROR(check_taken("SdaEmbed", weights));
    Tensor on_device;
    TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_INT32, TensorShape({N}), &on_device));
    int32_t* id = on_device.flat<int32_t>().data();
    cuda::upload(ids, N, id, stream_of(ctx));
    cuda::embed(weights, id, drawn, W, N, x, stream_of(ctx));
    return launched("SdaEmbed");
  }
};

REGISTER_KERNEL_BUILDER(
    Name("SdaEmbed").Device(tensorflow::DEVICE_GPU).TypeConstraint("T", kGpuWeightTypes).HostMemory("ids"), EmbedGpuOp);
SDA_GPU_OPERATION(SdaEmbed);

}  // namespace sda

#endif
