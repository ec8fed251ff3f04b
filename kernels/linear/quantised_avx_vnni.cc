// Products with quantised weights on processors with AVX-VNNI, which has VNNI for vectors of 256 bits. Compilers before
// g++ 11 and clang 12 do not know it: AVX2 serves there.

#include "quantised_forms.h"

#if defined(__x86_64__) && ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,avxvnni")
#endif

#include "quantised_avx2.h"
#include "quantised_block.h"

namespace sda {
namespace {

struct AvxVnni : Avx2 {
  static constexpr bool kBytes = true, kWide = false;
  struct Sums {
    __m256i upper, lower;
  };
  static Sums start(int32_t value) { return {_mm256_setzero_si256(), _mm256_set1_epi32(value)}; }
  static void add(Sums& sums, __m256i weights, const uint8_t* x) {
    sums.upper = _mm256_dpbusd_avx_epi32(sums.upper, weights, four(x));
    sums.lower = _mm256_dpbusd_avx_epi32(sums.lower, weights, four(x + 4));
  }
  static __m256 total(const Sums& sums) {
    return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_slli_epi32(sums.upper, 8), sums.lower));
  }
};

constexpr QuantisedForm kForm = make_form<AvxVnni>("avx-vnni");

}  // namespace

extern const QuantisedForm* const kAvxVnniForm;
const QuantisedForm* const kAvxVnniForm = &kForm;

}  // namespace sda

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

namespace sda {
extern const QuantisedForm* const kAvxVnniForm;
const QuantisedForm* const kAvxVnniForm = nullptr;
}  // namespace sda

#endif
