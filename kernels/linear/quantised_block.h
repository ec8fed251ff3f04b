// The product of a block of quantised weights (quantised.h) with some rows of x, for one kind of processor: included by a
// file a kind, which says what its vectors can do (`Isa`) and is compiled for it whatever the flags are. To keep code for
// one processor out of what others share, nothing here or there calls a function that is not a template of Isa.
#pragma once

#include <cstdint>

#include "quantised_forms.h"

namespace sda {

template <class Isa, ScaleType kScales>
auto scales_of(const void* scales, int64_t at) {
  if constexpr (kScales == kFloat32Scale) return Isa::float32s(static_cast<const float*>(scales) + at);
  else if constexpr (kScales == kFloat16Scale) return Isa::float16s(static_cast<const uint16_t*>(scales) + at);
  else return Isa::bfloat16s(static_cast<const uint16_t*>(scales) + at);
}

template <class Isa, int kBits>
auto zeros_of(const uint8_t* zeros) {
  if constexpr (kBits == 8) return Isa::signed_bytes(zeros);
  else return Isa::bytes(zeros);
}

// out[m * out_stride + row], m < M. Isa::kLanes rows of the block at a time.
template <class Isa, ScaleType kScales, int kBits, bool kZeros, int M>
void dot_block(const QuantisedBlock& block, const SplitRows& x, float* out, int64_t out_stride) {
  constexpr int64_t kLineBytes = 64, kRows = 16, kLines = kBits, kAhead = 8192;
  for (int64_t first = 0; first < kRows; first += Isa::kLanes) {
    const uint8_t* values = block.values + 4 * first;
    typename Isa::Float total[M];
    for (int m = 0; m < M; m++) total[m] = Isa::zero();
    for (int64_t g = 0; g < block.groups; g++) {
      const int64_t at = g * kRows + first;
      const auto scale = scales_of<Isa, kScales>(block.scales, at);
      typename Isa::Sums sums[M];
      for (int m = 0; m < M; m++) sums[m] = Isa::start(kBits == 8 || !kZeros ? x.start[m * x.groups + g] : 0);
      const uint8_t* line = values + g * kLines * kLineBytes;
      const uint8_t* xg = x.values + g * kSplitGroupBytes;
      for (int j = 0; j < kLines; j++, line += kLineBytes) {
        if (first == 0 && block.once) __builtin_prefetch(line + kAhead, 0, 2);  // into the second-level cache
        const auto bytes = Isa::load(line);
        if constexpr (kBits == 8) {
          for (int m = 0; m < M; m++) Isa::add(sums[m], bytes, xg + m * x.stride + j * kSplitFourBytes);
        } else {
          const auto low = Isa::low(bytes), high = Isa::high(bytes);
          for (int m = 0; m < M; m++) {
            Isa::add(sums[m], low, xg + m * x.stride + 2 * j * kSplitFourBytes);
            Isa::add(sums[m], high, xg + m * x.stride + (2 * j + 1) * kSplitFourBytes);
          }
        }
      }
      for (int m = 0; m < M; m++) {
        auto sum = Isa::total(sums[m]);
        if constexpr (kZeros) sum = Isa::minus(sum, zeros_of<Isa, kBits>(block.zeros + at), x.zero[m * x.groups + g]);
        total[m] = Isa::add_scaled(total[m], sum, scale, x.scale[m * x.groups + g]);
      }
    }
    for (int m = 0; m < M; m++) Isa::store(out + m * out_stride + first, total[m]);
  }
}

// Of all forms, those for one type of scales.
#define SDA_DOT_ROWS(scales, bits, zeros)                                                     \
  {                                                                                           \
    dot_block<Isa, scales, bits, zeros, 1>, dot_block<Isa, scales, bits, zeros, 2>,           \
        dot_block<Isa, scales, bits, zeros, 3>, dot_block<Isa, scales, bits, zeros, 4>        \
  }
#define SDA_DOT_BITS(scales)                                                                  \
  {                                                                                           \
    {SDA_DOT_ROWS(scales, 8, false), SDA_DOT_ROWS(scales, 8, true)},                          \
        {SDA_DOT_ROWS(scales, 4, false), SDA_DOT_ROWS(scales, 4, true)}                       \
  }

template <class Isa, ScaleType kScales, bool kZeros>
constexpr DotBlock wide_of() {
  if constexpr (Isa::kWide) return dot_block<Isa, kScales, 4, kZeros, kQuantisedWide>;
  else return nullptr;
}

template <class Isa>
constexpr QuantisedForm make_form(const char* name) {
  return {name,
          Isa::kBytes,
          {SDA_DOT_BITS(kBfloat16Scale), SDA_DOT_BITS(kFloat16Scale), SDA_DOT_BITS(kFloat32Scale)},
          {{wide_of<Isa, kBfloat16Scale, false>(), wide_of<Isa, kBfloat16Scale, true>()},
           {wide_of<Isa, kFloat16Scale, false>(), wide_of<Isa, kFloat16Scale, true>()},
           {wide_of<Isa, kFloat32Scale, false>(), wide_of<Isa, kFloat32Scale, true>()}}};
}

#undef SDA_DOT_BITS
#undef SDA_DOT_ROWS

}  // namespace sda
