// SdaEmbed: x[n] = the line of the table of token n, as float32.
//
//   table [V, K] float32, bfloat16, float16 or quantised (../linear/matrix.h); ids [N] int32, on the host; drawn [L, W] float32, on the device
//   token n: ids[n], or drawn[~ids[n]][0] where ids[n] is below 0: a token that the host has not seen; 0 for one that
//   is not in 0..V-1
//
// Bytes: K of the table's type read and 4 K written for each token.

#include "../op.h"
#include "kernel.h"

namespace sda {

REGISTER_OP("SdaEmbed")
    .Input("table: T")
    .Input("ids: int32")
    .Input("drawn: float")
    .Output("x: float")
    .Attr("T: {float, bfloat16, half, int32}")
    .Attr(SDA_TOLD_SHAPES)
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle ids;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &ids));
      c->set_output(0, c->Matrix(c->Dim(ids, 0), c->UnknownDim()));
      return absl::OkStatus();
    });

// Reads line n of the table into x.
template <typename T>
void read_line(const Tensor& table, int64_t n, int64_t K, float* x) {
  const T* line = table.flat<T>().data() + n * K;
  for (int64_t k = 0; k < K; k++) x[k] = static_cast<float>(line[k]);
}
template <>
void read_line<int32_t>(const Tensor& table, int64_t n, int64_t, float* x) {
  dequantise_row(quantised_shape(table), quantised_bytes(table), n, x);
}

template <typename T>
class EmbedOp : public EmbedKernel {
 public:
  using EmbedKernel::EmbedKernel;

 private:
  absl::Status run(OpKernelContext*, const Embed& call) const override {
    const auto& [table, ids, drawn, W, N, x] = call;
    const int64_t V = rows_of(table), K = columns_of(table);
    for (int64_t n = 0; n < N; n++) {
      const float token = ids[n] < 0 ? drawn[~ids[n] * W] : static_cast<float>(ids[n]);
      const bool in_table = token >= 0.0f && token < static_cast<float>(V);
      read_line<T>(table, in_table ? static_cast<int64_t>(token) : 0, K, x + n * K);
    }
    return absl::OkStatus();
  }
};

#define SDA_EMBED(type) \
  REGISTER_KERNEL_BUILDER(Name("SdaEmbed").Device(tensorflow::DEVICE_CPU).TypeConstraint<type>("T"), EmbedOp<type>)
SDA_EMBED(float);
SDA_EMBED(tensorflow::bfloat16);
SDA_EMBED(Eigen::half);
SDA_EMBED(int32_t);
SDA_OPERATION(SdaEmbed);

}  // namespace sda
