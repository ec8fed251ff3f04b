// The product of a block of quantised weights (quantised.h) with some rows of x, for one kind of processor: included by a
// file a kind, which says what its vectors can do (`Isa`) and is compiled for it whatever the flags are. To keep code for
// one processor out of what others share, nothing here or there calls a function that is not a template of Isa.
#pragma once

#include <cstdint>

#include "quantised_forms.h"

namespace sda {

// out[m * out_stride + row], m < M. Isa::kLanes rows of the block at a time.
template <class Isa, int kBits, int M>
void dot_block(const QuantisedBlock& block, const SplitRows& x, float* out, int64_t out_stride) {
  constexpr int64_t kLineBytes = 64, kRows = 16, kLines = kBits, kAhead = 8192;
  for (int64_t first = 0; first < kRows; first += Isa::kLanes) {
    const uint8_t* values = block.values + 4 * first;
    typename Isa::Float total[M];
    for (int m = 0; m < M; m++) total[m] = Isa::zero();
    for (int64_t g = 0; g < block.groups; g++) {
      const int64_t at = g * kRows + first;
      const auto scale = Isa::scales(block.scales + at);
      typename Isa::Sums sums[M];
      for (int m = 0; m < M; m++) sums[m] = Isa::start(kBits == 8 ? x.start[m * x.groups + g] : 0);
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
        if constexpr (kBits == 4) sum = Isa::minus(sum, Isa::bytes(block.zeros + at), x.sixteenth[m * x.groups + g]);
        total[m] = Isa::add_scaled(total[m], sum, scale, x.scale[m * x.groups + g]);
      }
    }
    for (int m = 0; m < M; m++) Isa::store(out + m * out_stride + first, total[m]);
  }
}

template <class Isa>
constexpr QuantisedForm make_form(const char* name) {
  return {name,
          Isa::kBytes,
          {{dot_block<Isa, 8, 1>, dot_block<Isa, 8, 2>, dot_block<Isa, 8, 3>, dot_block<Isa, 8, 4>},
           {dot_block<Isa, 4, 1>, dot_block<Isa, 4, 2>, dot_block<Isa, 4, 3>, dot_block<Isa, 4, 4>}}};
}

}  // namespace sda
