// The one product of matrices that few.cu is made of, and numbers split for it. Compute capability 8.0 and later.
#pragma once

#include "../device.h"
#include "../math.h"

#if defined(SDA_CUDA_EMULATE)
#include "../../test/cuda/mma.h"
#endif

namespace sda {
namespace cuda {

#if !defined(SDA_CUDA_EMULATE)
// sums [16, 8] += a [16, 16] b [16, 8] in bfloat16, two to a word, over the lanes of a warp. Of lane 4 g + t:
//   a: row g columns 2t and 2t+1, row g+8 the same, row g columns 2t+8 and 2t+9, row g+8 the same
//   b: rows 2t and 2t+1 of column g, rows 2t+8 and 2t+9
//   sums: row g columns 2t and 2t+1, row g+8 the same
__device__ inline void multiply_add(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
// The upper halves of two words: of `low` below, of `high` above.
__device__ inline unsigned upper_halves(float low, float high) {
  return __byte_perm(static_cast<unsigned>(float_to_bits(low)), static_cast<unsigned>(float_to_bits(high)), 0x7632);
}
// The sums of two pairs of bfloat16.
__device__ inline unsigned add_pairs(unsigned a, unsigned b) {
  unsigned sums = 0;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  constexpr unsigned kOnes = 0x3f803f80u;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sums) : "r"(a), "r"(kOnes), "r"(b));
#endif
  return sums;
}
#endif

// The first 8 of a number's significant bits, and the rest: both exact.
__device__ inline float leading(float value) {
  return bits_to_float(float_to_bits(value) & static_cast<int32_t>(0xffff0000u));
}

// Eight numbers as the sum of kParts in bfloat16 each: the largest first, four words of two numbers. Three parts have
// all 24 bits of a float32, two those of a float16. An infinite number has an infinite part and one that is NaN.
template <int kParts>
__device__ void split(const float (&values)[8], unsigned (&parts)[kParts][4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float low = values[2 * i], high = values[2 * i + 1];
#pragma unroll
    for (int p = 0; p < kParts; p++) {
      parts[p][i] = upper_halves(low, high);
      low -= leading(low), high -= leading(high);
    }
  }
}

}  // namespace cuda
}  // namespace sda
