// exp, log and SiLU for a lane type F (float, or Vec of simd.h): polynomial approximations after range reduction,
// within 2 units in the last place of float32 over the ranges stated. Free of CPU specifics.
#pragma once

#include <limits>

#if defined(__CUDACC__) || defined(SDA_CUDA_EMULATE)
#include "lanes.h"
#else
#include "simd.h"
#endif

namespace sda {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLn2 = 0.693147180559945f;

// Polynomials are evaluated in pairs of terms (Estrin's scheme), which shortens the chain of dependent operations.

// e^x for x <= 88; 0 below -87.7 (and for -Infinity). NaN is not kept.
template <typename F>
SDA_FN F exp_fast(F x) {
  // at the bound n is -127, whose scale is 0
  x = max_of(x, splat<F>(-88.02969f));
  // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to the nearest whole number
  const F magic = splat<F>(12582912.0f);
  const F shifted = x * 1.44269504088896f + magic;
  const F n = shifted - magic;
  const F r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  const F r2 = r * r;
  const F high = r * 1.9875691500e-4f + 1.3981999507e-3f;
  const F middle = r * 8.3334519073e-3f + 4.1665795894e-2f;
  const F low = r * 1.6666665459e-1f + 5.0000001201e-1f;
  const F p = ((high * r2 + middle) * r2 + low) * r2 + (r + 1.0f);
  // the low bits of `shifted` are n
  const F scale = bits_to_float((float_to_bits(shifted) + (127 - 0x4b400000)) << 23);
  return p * scale;
}

// ln x for normal x > 0.
template <typename F>
SDA_FN F log_fast(F x) {
  // x = m 2^e with sqrt(1/2) <= m < sqrt(2)
  const auto bits = float_to_bits(x) - 0x3f3504f3;  // sqrt(1/2)
  const F exponent = to_float(bits >> 23);
  const F m = bits_to_float((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const F m2 = m * m;
  const F m4 = m2 * m2;
  const F p01 = m * -2.4999993993e-1f + 3.3333331174e-1f;
  const F p23 = m * -1.6668057665e-1f + 2.0000714765e-1f;
  const F p45 = m * -1.2420140846e-1f + 1.4249322787e-1f;
  const F p67 = m * -1.1514610310e-1f + 1.1676998740e-1f;
  const F p = (p01 + p23 * m2) + (p45 + p67 * m2 + m4 * 7.0376836292e-2f) * m4;
  return m + (p * m * m2 + exponent * -2.12194440e-4f - 0.5f * m2) + exponent * 0.693359375f;
}

// z / (1 + e^-z). e^88 is near the largest float32; beyond it the quotient is 0 to float32 all the same.
template <typename F>
SDA_FN F silu(F z) {
  return z / (1.0f + exp_fast(min_of(-z, splat<F>(88.0f))));
}

}  // namespace sda
