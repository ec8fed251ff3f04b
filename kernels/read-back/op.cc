// SdaReadBack: starts to copy a tensor to the host, and SdaReadBackValues: waits for it.
//
//   x float32 of any shape, on the device;  ticket: a handle;  values: x, on the host
//
// On the CPU nothing is copied.

#include "kernel.h"

namespace sda {

REGISTER_OP("SdaReadBack")
    .Input("x: float")
    .Output("ticket: resource")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      return absl::OkStatus();
    });

REGISTER_OP("SdaReadBackValues")
    .Input("ticket: resource")
    .Output("values: float")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->UnknownShape());
      return absl::OkStatus();
    });

class ReadBackOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    tensorflow::core::RefCountPtr<ReadBack> values(new ReadBack(ctx->input(0)));
    OP_REQUIRES_OK(ctx, set_ticket(ctx, std::move(values)));
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaReadBack").Device(tensorflow::DEVICE_CPU), ReadBackOp);
REGISTER_KERNEL_BUILDER(Name("SdaReadBackValues").Device(tensorflow::DEVICE_CPU), ReadBackValuesOp);
SDA_OPERATION(SdaReadBack);
SDA_OPERATION(SdaReadBackValues);

}  // namespace sda
