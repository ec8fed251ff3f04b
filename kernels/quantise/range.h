// The scale and zero point of a group of weights. Every product that is added to something is exact, so that fused
// multiply-adds change nothing: the bytes are the same on every processor, and the reference's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../bfloat16.h"
#include "../linear/quantised.h"

namespace sda {

// How a group's numbers u become weights: quantised.h.
struct Range {
  uint16_t scale;  // bfloat16
  uint8_t zero;    // in sixteenths; of 4 bits
  float step;      // the scale's value
};

// x is finite and not negative. The largest bfloat16 at most.
inline uint16_t rounded_scale(float x) { return std::min<uint16_t>(to_bfloat16(x), 0x7f7f); }

// x + 1/2 cut off to a whole number in 0..high.
inline float whole(float x, float high) {
  const float up = x + 0.5f;
  return static_cast<float>(static_cast<int32_t>(up > 0.0f ? std::min(up, high + 0.5f) : 0.0f));
}

// The number u of a weight; see quantised.h. A group of zeros has the step 0.
inline float value_of_8_bits(float w, const Range& range) {
  return range.step > 0.0f ? 1.0f + whole(w / range.step + 127.0f, 254.0f) : 128.0f;
}
inline float value_of_4_bits(float w, const Range& range) {
  return range.step > 0.0f ? whole(w / range.step + range.zero / 16.0f, 15.0f) : 0.0f;
}

// The sum of squared errors of a group in 4 bits, in eight sums side by side; the scale is not 0. What is squared is exact
// but for one rounding, since step has 8 bits and u - zero as many; its square is exact in float64.
inline double squared_error(const float w[kQuantGroup], float step, float zero) {
  constexpr int kSums = 8;
  typedef float Floats __attribute__((vector_size(kSums * sizeof(float))));
  typedef int32_t Ints __attribute__((vector_size(kSums * sizeof(int32_t))));
  typedef double Doubles __attribute__((vector_size(kSums * sizeof(double))));
  const Floats low = {}, high = low + 15.5f;
  Doubles sums = {};
  for (int i = 0; i < kQuantGroup; i += kSums) {
    Floats values;
    std::memcpy(&values, w + i, sizeof(values));
    Floats up = (values / step + zero) + 0.5f;  // as `whole`
    up = up > low ? up : low;
    up = up < high ? up : high;
    const Floats u = __builtin_convertvector(__builtin_convertvector(up, Ints), Floats);
    const Doubles off = __builtin_convertvector(step * (u - zero) - values, Doubles);
    sums += off * off;
  }
  double sum = 0.0;
  for (int i = 0; i < kSums; i++) sum += sums[i];
  return sum;
}

inline Range range_of_8_bits(const float w[kQuantGroup]) {
  float size = 0.0f;
  for (int i = 0; i < kQuantGroup; i++) size = std::max(size, std::fabs(w[i]));
  const uint16_t scale = rounded_scale(size / 127.0f);
  return {scale, 0, scale_of(scale)};
}

// Of several shares of the whole range (0 always in it), the one with the least sum of squared errors: giving up the outer
// weights makes the others finer.
inline Range range_of_4_bits(const float w[kQuantGroup]) {
  constexpr float kShares[] = {1.0f, 0.9375f, 0.875f, 0.8125f, 0.75f, 0.6875f};
  float low = 0.0f, high = 0.0f;
  for (int i = 0; i < kQuantGroup; i++) {
    low = std::min(low, w[i]);
    high = std::max(high, w[i]);
  }
  Range best = {};
  double least = -1.0;
  for (const float share : kShares) {
    const uint16_t scale = rounded_scale((high - low) * share / 15.0f);
    Range range = {scale, 0, scale_of(scale)};
    if (!(range.step > 0.0f)) return least < 0.0 ? range : best;
    range.zero = static_cast<uint8_t>(whole(-low * share / range.step * 16.0f, 240.0f));
    const double error = squared_error(w, range.step, range.zero / 16.0f);
    if (least >= 0.0 && !(error < least)) continue;
    least = error;
    best = range;
  }
  return best;
}

}  // namespace sda
