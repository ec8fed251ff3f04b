// SdaReadBack on an NVIDIA GPU: a copy to page-locked memory on TensorFlow's stream, and an event behind it.

#if defined(SDA_CUDA)

#include "../gpu.h"
#include "kernel.h"

namespace sda {

class GpuReadBack : public ReadBack {
 public:
  // `device` lives until the copy is done.
  GpuReadBack(const Tensor& device, const Tensor& host) : ReadBack(host), device_(device) {}
  ~GpuReadBack() override {
    if (!event_) return;
    cudaEventSynchronize(event_);
    cudaEventDestroy(event_);
  }

  absl::Status start(cudaStream_t stream) {
    TF_RETURN_IF_ERROR(accepted(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)));
    TF_RETURN_IF_ERROR(accepted(cudaMemcpyAsync(host().data(), device_.data(), device_.TotalBytes(),
                                                cudaMemcpyDeviceToHost, stream)));
    return accepted(cudaEventRecord(event_, stream));
  }

  absl::Status wait() override { return accepted(cudaEventSynchronize(event_)); }

 private:
  static absl::Status accepted(cudaError_t error) {
    if (error == cudaSuccess) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("SdaReadBack: the GPU reports: ", cudaGetErrorString(error), "."));
  }

  Tensor device_;
  cudaEvent_t event_ = nullptr;
};

class ReadBackGpuOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    const Tensor& x = ctx->input(0);
    tensorflow::AllocatorAttributes page_locked;
    page_locked.set_on_host(true);
    page_locked.set_gpu_compatible(true);
    Tensor host;
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, x.shape(), &host, page_locked));
    tensorflow::core::RefCountPtr<GpuReadBack> values(new GpuReadBack(x, host));
    OP_REQUIRES_OK(ctx, values->start(stream_of(ctx)));
    OP_REQUIRES_OK(ctx, set_ticket(ctx, tensorflow::core::RefCountPtr<ReadBack>(values.release())));
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaReadBack").Device(tensorflow::DEVICE_GPU).HostMemory("ticket"), ReadBackGpuOp);
REGISTER_KERNEL_BUILDER(
    Name("SdaReadBackValues").Device(tensorflow::DEVICE_GPU).HostMemory("ticket").HostMemory("values"),
    ReadBackValuesOp);
SDA_GPU_OPERATION(SdaReadBack);
SDA_GPU_OPERATION(SdaReadBackValues);

}  // namespace sda

#endif
