// A quantised matrix (quantised.h) as the CUDA kernels find their way in it, and how they read its scales and zero points.
// Weights are s (v - z): v is a number less the middle of its range, -128..127 or -8..7, and z the zero point as far from it.
#pragma once

#include "cuda.h"
#include "stored.h"

namespace sda {
namespace cuda {

struct QuantisedView {
  const uint8_t* blocks;
  int64_t block_bytes, part_bytes;  // from a block, and from a part, to the next
  int64_t zeros_at, values_at;      // in a block
  ScaleType scales;
  int scale_bytes;
  bool has_zeros;
  float zero_factor, zero_start;  // z = factor (2^23 + b) + start, exactly, of byte b; of 8 bits b is the signed byte + 128
};

inline QuantisedView view_of(const Weights& weights) {
  const QuantisedShape& shape = weights.quantised;
  const bool fine = shape.bits == 4 && shape.zeros == kOwnZeros;
  const float factor = fine ? 1.0f / 16.0f : 1.0f, middle = fine || shape.bits == 8 ? 128.0f : 8.0f;
  return {static_cast<const uint8_t*>(weights.data) + kQuantLine,
          shape.block_bytes(),
          shape.part_blocks() * shape.block_bytes(),
          shape.zeros_at(),
          shape.values_at(),
          shape.scales,
          static_cast<int>(shape.scale_bytes()),
          shape.has_zeros(),
          factor,
          -(8388608.0f + middle) * factor};
}

// Which column each place of a row has; null where places are columns.
inline const int32_t* order_of(const Weights& weights) {
  if (!is_quantised(weights) || !weights.quantised.ordered) return nullptr;
  return reinterpret_cast<const int32_t*>(static_cast<const uint8_t*>(weights.data) + weights.quantised.order_at());
}

// A scale of 16 bits.
__device__ inline float scale_of(const QuantisedView& view, unsigned bits) {
  return view.scales == kFloat16Scale ? half_to_float(bits) : Bfloat16::value(bits);
}

template <int kBits>
__device__ float zero_of(const QuantisedView& view, unsigned byte) {
  // 2^23 and a whole number below 256 are the float32 with these bits
  constexpr unsigned kSigned = kBits == 8 ? 128 : 0;
  const float number = bits_to_float(static_cast<int32_t>(0x4b000000u | (byte ^ kSigned)));
  return fmaf(number, view.zero_factor, view.zero_start);
}

// Row r of a block: the scale of group g, and its zero point or 0.
__device__ inline float scale_at(const QuantisedView& view, const uint8_t* block, int64_t g, int r) {
  const int64_t at = g * kQuantRows + r;
  if (view.scales == kFloat32Scale) return reinterpret_cast<const float*>(block)[at];
  return scale_of(view, reinterpret_cast<const uint16_t*>(block)[at]);
}
template <int kBits>
__device__ float zero_at(const QuantisedView& view, const uint8_t* block, int64_t g, int r) {
  return view.has_zeros ? zero_of<kBits>(view, block[view.zeros_at + g * kQuantRows + r]) : 0.0f;
}

// The eight neighbours of a row's columns that begin at column 8 t of group g: the words that hold them, one of 4 bits.
template <int kBits>
__device__ void load_eight(const QuantisedView& view, const uint8_t* block, int64_t g, int r, int t, unsigned words[2]) {
  const auto* const group = reinterpret_cast<const unsigned*>(block + view.values_at + g * (kQuantRows * kQuantGroup * kBits / 8));
  constexpr int kLine = kQuantLine / 4;
  if constexpr (kBits == 4) {
    words[0] = group[t * kLine + r], words[1] = 0;
  } else {
    words[0] = group[2 * t * kLine + r], words[1] = group[(2 * t + 1) * kLine + r];
  }
}

// Number i of them.
template <int kBits>
__device__ float value_of(const unsigned words[2], int i) {
  const unsigned word = kBits == 8 ? words[i / 4] : words[0] >> i / 4 * 4, mask = kBits == 8 ? 255 : 15;
  return static_cast<float>(static_cast<int>(word >> i % 4 * 8 & mask) - (kBits == 8 ? 128 : 8));
}

}  // namespace cuda
}  // namespace sda
