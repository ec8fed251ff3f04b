// The operations on a lane type F that math.h is written with, for F = float. simd.h has them for vectors; a GPU's
// threads are the lanes there.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace sda {

template <typename F>
SDA_FN F splat(float x);
template <>
SDA_FN float splat<float>(float x) {
  return x;
}

// Lane-wise choice by a comparison's result.
SDA_FN float select(bool mask, float a, float b) { return mask ? a : b; }

template <typename F>
SDA_FN F max_of(F a, F b) {
  return select(a > b, a, b);
}
template <typename F>
SDA_FN F min_of(F a, F b) {
  return select(a < b, a, b);
}

SDA_FN float bits_to_float(int32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
SDA_FN int32_t float_to_bits(float f) {
  int32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}
SDA_FN int32_t to_int(float f) { return static_cast<int32_t>(f); }
SDA_FN float to_float(int32_t i) { return static_cast<float>(i); }

}  // namespace sda
