// exp and log for a lane type F (float, or Vec of simd.h): polynomial approximations after range reduction,
// within 2 units in the last place of float32 over the ranges stated. Free of CPU specifics.
#pragma once

#include <limits>

#include "simd.h"

namespace sda {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLn2 = 0.693147180559945f;

// e^x for x <= 88; 0 below -87.3 (and for -Infinity). NaN is not kept.
template <typename F>
inline F exp_fast(F x) {
  const F limit = splat<F>(-87.33654f);
  const auto tiny = x < limit;
  x = max_of(x, limit);
  // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to the nearest whole number
  const F magic = splat<F>(12582912.0f);
  const F n = (x * 1.44269504088896f + magic) - magic;
  const F r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  F p = splat<F>(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const F scale = bits_to_float((to_int(n) + 127) << 23);
  return select(tiny, splat<F>(0.0f), p * scale);
}

// ln x for normal x > 0.
template <typename F>
inline F log_fast(F x) {
  // x = m 2^e with sqrt(1/2) <= m < sqrt(2)
  const auto bits = float_to_bits(x);
  auto e = (bits >> 23) - 126;
  F m = bits_to_float((bits & 0x007fffff) | 0x3f000000);
  const auto low = m < splat<F>(0.707106781186547f);
  const F exponent = to_float(e) - select(low, splat<F>(1.0f), splat<F>(0.0f));
  m = select(low, m + m, m) - 1.0f;
  F p = splat<F>(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const F z = m * m;
  return m + (p * m * z + exponent * -2.12194440e-4f - 0.5f * z) + exponent * 0.693359375f;
}

}  // namespace sda
