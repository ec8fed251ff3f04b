// Vectors of floats by the compiler's vector extension: 16 lanes with AVX-512, 8 with AVX, 4 elsewhere
// (SSE2, NEON). The arithmetic in math.h is written once for a lane type F, which is `Vec` here and plain
// `float` (lanes.h) in scalar tails and on a GPU.
#pragma once

#include <cstdint>
#include <cstring>

namespace sda {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t VecI __attribute__((vector_size(kLanes * 4)));
typedef uint32_t VecU __attribute__((vector_size(kLanes * 4)));
typedef uint16_t VecH __attribute__((vector_size(kLanes * 2)));

// Stands before the templates of lanes.h that call it.
inline Vec select(VecI mask, Vec a, Vec b) { return mask ? a : b; }

}  // namespace sda

#include "lanes.h"

namespace sda {

// Loads and stores at any alignment.
inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof(v)); }

template <>
inline Vec splat<Vec>(float x) {
  return Vec{} + x;
}

// Loads and stores of the first n < kLanes values; the other lanes are `fill`.
inline Vec load_part(const float* p, int64_t n, float fill) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; i++) lanes[i] = i < n ? p[i] : fill;
  return load(lanes);
}
inline void store_part(float* p, Vec v, int64_t n) {
  float lanes[kLanes];
  store(lanes, v);
  for (int64_t i = 0; i < n; i++) p[i] = lanes[i];
}

inline Vec bits_to_float(VecI bits) { return (Vec)bits; }
inline VecI float_to_bits(Vec f) { return (VecI)f; }
inline VecI to_int(Vec f) { return __builtin_convertvector(f, VecI); }
inline Vec to_float(VecI i) { return __builtin_convertvector(i, Vec); }

inline float sum_lanes(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
  return lanes[0];
}
inline float max_lanes(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  float m = lanes[0];
  for (int i = 1; i < kLanes; i++) m = lanes[i] > m ? lanes[i] : m;
  return m;
}
// True when any lane of a comparison holds.
inline bool any_lane(VecI mask) {
  uint64_t words[sizeof(VecI) / 8], any = 0;
  std::memcpy(words, &mask, sizeof(words));
  for (uint64_t word : words) any |= word;
  return any != 0;
}

}  // namespace sda
