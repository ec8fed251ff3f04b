// Products with quantised weights on processors with AVX2.

#if defined(__x86_64__)

#include <immintrin.h>

#include "quantised_forms.h"  // before code is compiled for one processor

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#include "quantised_avx2.h"
#include "quantised_block.h"

namespace sda {
namespace {

struct Avx2Pairs : Avx2 {
  static constexpr bool kBytes = false, kWide = false;
  using Sums = __m256i;
  static Sums start(int32_t value) { return _mm256_set1_epi32(value); }
  static void add(Sums& sums, __m256i weights, const uint8_t* x) {
    const __m256i even = _mm256_and_si256(weights, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(weights, 8);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even, four(x)));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(odd, four(x + 4)));
  }
  static __m256 total(Sums sums) { return _mm256_cvtepi32_ps(sums); }
};

}  // namespace

extern const QuantisedForm kAvx2Form;
constexpr QuantisedForm kAvx2Form = make_form<Avx2Pairs>("avx2");

}  // namespace sda

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
