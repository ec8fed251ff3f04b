// SdaCopyRow on an NVIDIA GPU: a copy of each variable's part on TensorFlow's stream; nothing waits.

#if defined(SDA_CUDA)

#include "../gpu.h"
#include "kernel.h"

namespace sda {

class CopyRowGpuOp : public CopyRowKernel {
 public:
  using CopyRowKernel::CopyRowKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const std::vector<RowCopy>& copies) const override {
    for (const auto& [from, to, heads, stride, bytes] : copies) {
      cudaMemcpy2DAsync(to, stride, from, stride, bytes, heads, cudaMemcpyDeviceToDevice, stream_of(ctx));
    }
    return launched("SdaCopyRow");
  }

  absl::Status copy_all(OpKernelContext* ctx, const Tensor& from, Tensor* to) const override {
    cudaMemcpyAsync(to->data(), from.data(), from.TotalBytes(), cudaMemcpyDeviceToDevice, stream_of(ctx));
    return launched("SdaCopyRow");
  }
};

REGISTER_KERNEL_BUILDER(
    Name("SdaCopyRow").Device(tensorflow::DEVICE_GPU).HostMemory("variables").HostMemory("places"), CopyRowGpuOp);
SDA_GPU_OPERATION(SdaCopyRow);

}  // namespace sda

#endif
