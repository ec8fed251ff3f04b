// SdaCopyRow: the first positions of a row of a key-value cache, over those of another row, in all layers at once.
//
//   variables: N handles of [rows, G, capacity, D], values of any type, written in place;
//   places int32 [3]: from, to, length
//
//   variable[to, :, 0..length) = variable[from, :, 0..length)
//
// Bytes: length G D values of each variable, read once and written once. Nothing is converted.

#include <cstring>

#include "kernel.h"

namespace sda {

REGISTER_OP("SdaCopyRow")
    .Input("variables: N * resource")
    .Input("places: int32")
    .Attr("N: int >= 1")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext*) { return absl::OkStatus(); });

class CopyRowOp : public CopyRowKernel {
 public:
  using CopyRowKernel::CopyRowKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const std::vector<RowCopy>& copies) const override {
    const int64_t variables = copies.size();
    const int64_t grain = 1 + kLeastBytes / (1 + copies[0].heads * copies[0].bytes);
    parallel_for(ctx, variables, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const auto& [from, to, heads, stride, bytes] = copies[i];
        for (int64_t head = 0; head < heads; head++) std::memcpy(to + head * stride, from + head * stride, bytes);
      }
    });
    return absl::OkStatus();
  }

  absl::Status copy_all(OpKernelContext*, const Tensor& from, Tensor* to) const override {
    std::memcpy(to->data(), from.data(), from.TotalBytes());
    return absl::OkStatus();
  }

  static constexpr int64_t kLeastBytes = 1 << 16;  // worth another thread
};

REGISTER_KERNEL_BUILDER(Name("SdaCopyRow").Device(tensorflow::DEVICE_CPU), CopyRowOp);
SDA_OPERATION(SdaCopyRow);

}  // namespace sda
