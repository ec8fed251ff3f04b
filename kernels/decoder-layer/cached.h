// How keys and values stand in the cache: one struct a storage type, in natural order.
#pragma once

#include <algorithm>

#include "../bfloat16.h"
#include "../simd.h"

namespace sda {

struct CachedFloat32 {
  using Stored = float;
  static Vec load(const float* p) { return sda::load(p); }
  static float value(float stored) { return stored; }
  static void write(const float* from, int64_t n, float* to) { std::copy_n(from, n, to); }
};

// Widened exactly as they are read; rounded to the nearest even one as they are written.
struct CachedBfloat16 {
  using Stored = uint16_t;
  static Vec load(const uint16_t* p) {
    VecH halves;
    std::memcpy(&halves, p, sizeof(halves));
    return (Vec)(__builtin_convertvector(halves, VecU) << 16);
  }
  static float value(uint16_t stored) { return from_bfloat16(stored); }
  static void write(const float* from, int64_t n, uint16_t* to) {
    for (int64_t i = 0; i < n; i++) to[i] = to_bfloat16(from[i]);
  }
};

}  // namespace sda
