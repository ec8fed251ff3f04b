// SdaUpload on an NVIDIA GPU: cuda.cu on TensorFlow's stream.

#if defined(SDA_CUDA)

#include "../gpu.h"
#include "cuda.h"

namespace sda {

class UploadGpuOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    const Tensor& bits = ctx->input(0);
    Tensor* values = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, bits.shape(), &values));
    cuda::upload(bits.flat<int32_t>().data(), bits.NumElements(), static_cast<int32_t*>(values->data()),
                 stream_of(ctx));
    OP_REQUIRES_OK(ctx, launched("SdaUpload"));
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaUpload").Device(tensorflow::DEVICE_GPU).HostMemory("bits"), UploadGpuOp);
SDA_GPU_OPERATION(SdaUpload);

}  // namespace sda

#endif
