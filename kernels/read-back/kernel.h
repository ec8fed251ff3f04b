// Values on their way from the device to the host. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include <string>

#include "../op.h"
#include "tensorflow/core/framework/resource_base.h"
#include "tensorflow/core/framework/resource_mgr.h"

namespace sda {

class ReadBack : public tensorflow::ResourceBase {
 public:
  explicit ReadBack(const Tensor& host) : host_(host) {}

  // Returns when `host` holds the values.
  virtual absl::Status wait() { return absl::OkStatus(); }
  const Tensor& host() const { return host_; }
  std::string DebugString() const override { return "values on their way to the host"; }

 private:
  Tensor host_;
};

// The output is a handle that owns the values.
inline absl::Status set_ticket(OpKernelContext* ctx, tensorflow::core::RefCountPtr<ReadBack> values) {
  Tensor* output = nullptr;
  TF_RETURN_IF_ERROR(ctx->allocate_output(0, TensorShape({}), &output));
  output->scalar<tensorflow::ResourceHandle>()() =
      tensorflow::ResourceHandle::MakeRefCountingHandle(values.release(), ctx->device()->name());
  return absl::OkStatus();
}

class ReadBackValuesOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    tensorflow::core::RefCountPtr<ReadBack> values;
    OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, 0), &values));
    OP_REQUIRES_OK(ctx, values->wait());
    ctx->set_output(0, values->host());
  }
};

}  // namespace sda
