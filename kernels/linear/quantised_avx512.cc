// Products with quantised weights on processors with AVX-512: with VNNI, and without.

#if defined(__x86_64__)

#include <immintrin.h>

#include "quantised_forms.h"  // before code is compiled for one processor

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vnni")
#endif

#include "quantised_block.h"

namespace sda {
namespace {

// What both forms share. 16 rows of weights are the lanes.
struct Avx512 {
  static constexpr int64_t kLanes = 16;
  using Float = __m512;
  static __m512 zero() { return _mm512_setzero_ps(); }
  static __m512i load(const uint8_t* line) { return _mm512_loadu_si512(line); }
  static __m512i low(__m512i bytes) { return _mm512_and_si512(bytes, _mm512_set1_epi8(15)); }
  static __m512i high(__m512i bytes) { return low(_mm512_srli_epi16(bytes, 4)); }
  static __m512 float32s(const float* from) { return _mm512_loadu_ps(from); }
  static __m512 float16s(const uint16_t* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static __m512 bfloat16s(const uint16_t* from) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static __m512 bytes(const uint8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  }
  static __m512 signed_bytes(const uint8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  }
  static __m512 minus(__m512 sum, __m512 a, float b) { return _mm512_fnmadd_ps(a, _mm512_set1_ps(b), sum); }
  static __m512 add_scaled(__m512 total, __m512 sum, __m512 scale, float x_scale) {
    return _mm512_fmadd_ps(_mm512_mul_ps(sum, scale), _mm512_set1_ps(x_scale), total);
  }
  static void store(float* to, __m512 values) { _mm512_storeu_ps(to, values); }
  static __m512i four(const uint8_t* x) {
    int value;
    __builtin_memcpy(&value, x, sizeof(value));
    return _mm512_set1_epi32(value);
  }
};

struct Avx512Vnni : Avx512 {
  static constexpr bool kBytes = true, kWide = true;
  struct Sums {
    __m512i upper, lower;
  };
  static Sums start(int32_t value) { return {_mm512_setzero_si512(), _mm512_set1_epi32(value)}; }
  static void add(Sums& sums, __m512i weights, const uint8_t* x) {
    sums.upper = _mm512_dpbusd_epi32(sums.upper, weights, four(x));
    sums.lower = _mm512_dpbusd_epi32(sums.lower, weights, four(x + 4));
  }
  static __m512 total(const Sums& sums) {
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(sums.upper, 8), sums.lower));
  }
};

struct Avx512Pairs : Avx512 {
  static constexpr bool kBytes = false, kWide = false;
  using Sums = __m512i;
  static Sums start(int32_t value) { return _mm512_set1_epi32(value); }
  static void add(Sums& sums, __m512i weights, const uint8_t* x) {
    const __m512i even = _mm512_and_si512(weights, _mm512_set1_epi16(255)), odd = _mm512_srli_epi16(weights, 8);
    sums = _mm512_add_epi32(sums, _mm512_madd_epi16(even, four(x)));
    sums = _mm512_add_epi32(sums, _mm512_madd_epi16(odd, four(x + 4)));
  }
  static __m512 total(Sums sums) { return _mm512_cvtepi32_ps(sums); }
};

}  // namespace

extern const QuantisedForm kAvx512VnniForm, kAvx512Form;
constexpr QuantisedForm kAvx512VnniForm = make_form<Avx512Vnni>("avx512-vnni");
constexpr QuantisedForm kAvx512Form = make_form<Avx512Pairs>("avx512");

}  // namespace sda

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
