// SdaQuantise: a matrix of weights [N, K] in 8 or 4 bits, in the layout of ../linear/quantised.h.
//
//   8 bits: s = max |w| / 127 of a group of 32 neighbours in a row, in bfloat16; u = round(w / s) + 128
//   4 bits: range.h's choice of s and z; u = round(w / s + z / 16)
//
// Halves are rounded up. Weights that are not finite are refused. Bytes: those of the weights read, twice for 4 bits, and
// a quarter or less of float32's written. A block of 16 rows is one piece of work.

#include <atomic>
#include <cmath>
#include <limits>

#include "../linear/matrix.h"
#include "range.h"

namespace sda {

REGISTER_OP("SdaQuantise")
    .Input("weight: T")
    .Output("quantised: int32")
    .Attr("T: {float, bfloat16, half}")
    .Attr("bits: int")
    .Attr("parts: int >= 1")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Vector(c->UnknownDim()));
      return absl::OkStatus();
    });

// Writes group g of row r of a block of 16 rows.
inline void write_group(const QuantisedShape& shape, const float w[kQuantGroup], int64_t g, int64_t r, uint8_t* block) {
  const int64_t at = g * kQuantRows + r;
  const Range range = shape.bits == 8 ? range_of_8_bits(w) : range_of_4_bits(w);
  std::memcpy(block + 2 * at, &range.scale, sizeof(range.scale));
  if (shape.bits == 4) block[shape.zeros_at() + at] = range.zero;
  uint8_t u[kQuantGroup];
  for (int i = 0; i < kQuantGroup; i++) {
    const float value = shape.bits == 8 ? value_of_8_bits(w[i], range) : value_of_4_bits(w[i], range);
    u[i] = static_cast<uint8_t>(value);
  }
  uint8_t* line = block + shape.values_at() + g * shape.group_bytes() + 4 * r;
  if (shape.bits == 8) {
    for (int i = 0; i < kQuantGroup; i += 4, line += kQuantLine) std::memcpy(line, u + i, 4);
  } else {
    for (int i = 0; i < kQuantGroup; i += 8, line += kQuantLine)
      for (int j = 0; j < 4; j++) line[j] = static_cast<uint8_t>(u[i + j] | u[i + 4 + j] << 4);
  }
}

template <typename T>
class QuantiseOp : public OpKernel {
 public:
  explicit QuantiseOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    int bits;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("bits", &bits));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("parts", &parts_));
    OP_REQUIRES(ctx, bits == 8 || bits == 4,
                absl::InvalidArgumentError(absl::StrCat("SdaQuantise: bits must be 8 or 4, but is ", bits, ".")));
    bits_ = bits;
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& weight = ctx->input(0);
    OP_REQUIRES_OK(ctx, check_shape("SdaQuantise", "weight", weight, {-1, -1}));
    const QuantisedShape shape = {bits_, weight.dim_size(0), weight.dim_size(1), parts_};
    OP_REQUIRES(ctx, shape.N % shape.parts == 0,
                absl::InvalidArgumentError(absl::StrCat("SdaQuantise: ", shape.N, " rows are not ", shape.parts,
                                                        " equal parts.")));
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({shape.bytes() / 4}), &output));
    uint8_t* to = reinterpret_cast<uint8_t*>(output->flat<int32_t>().data());
    write_header(shape, to);
    std::atomic<bool> finite{true};
    const T* from = weight.flat<T>().data();
    parallel_for(ctx, shape.parts * shape.part_blocks(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; b++)
        if (!write_block(shape, from, b, to + kQuantLine + b * shape.block_bytes())) finite = false;
    });
    OP_REQUIRES(ctx, finite, absl::InvalidArgumentError("SdaQuantise: weights that are not finite."));
  }

 private:
  static void write_header(const QuantisedShape& shape, uint8_t* to) {
    QuantisedHeader header = {};
    std::memcpy(header.magic, kQuantisedMagic, sizeof(header.magic));
    header.bits = static_cast<uint32_t>(shape.bits);
    header.parts = static_cast<uint32_t>(shape.parts);
    header.rows = static_cast<uint64_t>(shape.N);
    header.columns = static_cast<uint64_t>(shape.K);
    std::memcpy(to, &header, sizeof(header));
  }

  // Block b of all parts; false where a weight is not finite.
  static bool write_block(const QuantisedShape& shape, const T* from, int64_t b, uint8_t* block) {
    std::memset(block, 0, shape.block_bytes());
    const int64_t in_part = shape.N / shape.parts, part = b / shape.part_blocks();
    const int64_t first = b % shape.part_blocks() * kQuantRows, count = std::min(kQuantRows, in_part - first);
    for (int64_t r = 0; r < count; r++) {
      const T* row = from + (part * in_part + first + r) * shape.K;
      for (int64_t g = 0; g < shape.groups(); g++) {
        float w[kQuantGroup] = {}, size = 0.0f;
        const int64_t n = std::min(kQuantGroup, shape.K - g * kQuantGroup);
        for (int64_t i = 0; i < n; i++) w[i] = static_cast<float>(row[g * kQuantGroup + i]);
        for (float value : w) size += std::fabs(value) <= std::numeric_limits<float>::max() ? 0.0f : 1.0f;
        if (size > 0.0f) return false;
        write_group(shape, w, g, r, block);
      }
    }
    return true;
  }

  int bits_;
  int64_t parts_;
};

#define SDA_QUANTISE(type)                                                                      \
  REGISTER_KERNEL_BUILDER(Name("SdaQuantise").Device(tensorflow::DEVICE_CPU).TypeConstraint<type>("T"), \
                          QuantiseOp<type>)
SDA_QUANTISE(float);
SDA_QUANTISE(tensorflow::bfloat16);
SDA_QUANTISE(Eigen::half);
SDA_OPERATION(SdaQuantise);

}  // namespace sda
