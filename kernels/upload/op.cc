// SdaUpload: values = the same bits as float32. `bits` is the host's, `values` the device's.

#include <cstring>

#include "../op.h"

namespace sda {

REGISTER_OP("SdaUpload")
    .Input("bits: int32")
    .Output("values: float")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(0));
      return absl::OkStatus();
    });

class UploadOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    const Tensor& bits = ctx->input(0);
    Tensor* values = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, bits.shape(), &values));
    std::memcpy(values->data(), bits.data(), bits.TotalBytes());
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaUpload").Device(tensorflow::DEVICE_CPU), UploadOp);
SDA_OPERATION(SdaUpload);

}  // namespace sda
