// What the forms with vectors of 256 bits share (quantised_avx2.cc, quantised_avx_vnni.cc): 8 rows of weights are the lanes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace sda {
namespace {

struct Avx2 {
  static constexpr int64_t kLanes = 8;
  using Float = __m256;
  static __m256 zero() { return _mm256_setzero_ps(); }
  static __m256i load(const uint8_t* line) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(line)); }
  static __m256i low(__m256i bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
  static __m256i high(__m256i bytes) { return low(_mm256_srli_epi16(bytes, 4)); }
  static __m256 float32s(const float* from) { return _mm256_loadu_ps(from); }
  static __m256 float16s(const uint16_t* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static __m256 bfloat16s(const uint16_t* from) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  static __m256 bytes(const uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }
  static __m256 signed_bytes(const uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }
  static __m256 minus(__m256 sum, __m256 a, float b) { return _mm256_fnmadd_ps(a, _mm256_set1_ps(b), sum); }
  static __m256 add_scaled(__m256 total, __m256 sum, __m256 scale, float x_scale) {
    return _mm256_fmadd_ps(_mm256_mul_ps(sum, scale), _mm256_set1_ps(x_scale), total);
  }
  static void store(float* to, __m256 values) { _mm256_storeu_ps(to, values); }
  static __m256i four(const uint8_t* x) {
    int value;
    __builtin_memcpy(&value, x, sizeof(value));
    return _mm256_set1_epi32(value);
  }
};

}  // namespace
}  // namespace sda
