// What every op.cc starts from.
#pragma once

#include "team.h"
#include "registry.h"
#include "shape_checks.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace sda {

using tensorflow::DT_FLOAT;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// The values of a float32 input, or null where its attribute says it is absent.
inline const float* values_if(bool present, const Tensor& tensor) {
  return present ? tensor.flat<float>().data() : nullptr;
}

}  // namespace sda
