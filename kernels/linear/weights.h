// How a row of weights becomes float vectors: one struct a storage type. Two vectors of kLanes values come
// from 2 kLanes stored ones; the order in which they come is the type's own, and x is packed: it puts the other
// operand of a dot product in the same order, so that no shuffle is needed in the inner loop.
#pragma once

#include <cstdint>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "../simd.h"

namespace sda {

constexpr int kStep = 2 * kLanes;

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Natural order.
struct Float32Weights {
  using Stored = float;
  static void unpack(const float* w, Vec& a, Vec& b) {
    a = load(w);
    b = load(w + kLanes);
  }
  static int64_t packed_index(int64_t k) { return k; }
  static void pack(const float* from, float* to) { std::memcpy(to, from, kStep * sizeof(float)); }
};

// bfloat16 is the upper half of a float32. A 32-bit word holds two: the even one comes out by a shift, the odd
// one by a mask. Order: the even ones of 2 kLanes, then the odd ones.
struct Bfloat16Weights {
  using Stored = uint16_t;
  static void unpack(const uint16_t* w, Vec& a, Vec& b) {
    VecU words;
    std::memcpy(&words, w, sizeof(words));
    a = (Vec)(words << 16);
    b = (Vec)(words & 0xffff0000u);
  }
  static int64_t packed_index(int64_t k) {
    const int64_t in_step = k % kStep;
    return k - in_step + (in_step % 2) * kLanes + in_step / 2;
  }
  static void pack(const float* from, float* to) {
    for (int i = 0; i < kLanes; i++) {
      to[i] = from[2 * i];
      to[kLanes + i] = from[2 * i + 1];
    }
  }
};

// float16 in natural order; by the processor's conversion where it has one.
struct Float16Weights {
  using Stored = uint16_t;
  static void unpack(const uint16_t* w, Vec& a, Vec& b) {
    a = widen(w);
    b = widen(w + kLanes);
  }
  static int64_t packed_index(int64_t k) { return k; }
  static void pack(const float* from, float* to) { std::memcpy(to, from, kStep * sizeof(float)); }

 private:
  static Vec widen(const uint16_t* w) {
#if defined(__F16C__) && defined(__AVX512F__)
    return (Vec)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
#elif defined(__F16C__)
    return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
#else
    // Shift exponent and mantissa into place as if the exponent's bias were float32's, then scale by the
    // difference of the biases; infinities and NaN keep a full exponent. Subnormal numbers are whole multiples of
    // 2^-24: as float32 they would be subnormal before the scaling, which TensorFlow's threads take for 0.
    VecU bits;
    for (int i = 0; i < kLanes; i++) bits[i] = w[i];
    const VecU size = bits & 0x7fffu;
    const VecU special = (VecU)((bits & 0x7c00u) == 0x7c00u) & 0x7f800000u;
    const Vec normal = (Vec)(size << 13) * 5.192296858534828e33f;           // 2^112
    const Vec subnormal = to_float((VecI)size) * 5.960464477539063e-8f;     // 2^-24
    const Vec scaled = select((VecI)(size < 0x0400u), subnormal, normal);
    return (Vec)((VecU)scaled | special | ((bits & 0x8000u) << 16));
#endif
  }
};

}  // namespace sda
