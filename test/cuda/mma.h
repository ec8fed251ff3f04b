// What kernels/linear/tensor_cores.h has of the hardware, for emulate.h: the layouts there, and sums rounded as in wmma.h.
#pragma once

#include "wmma.h"

namespace sda {
namespace cuda {

inline float half_of_word(unsigned word, int upper) {
  return __uint_as_float(upper ? word & 0xffff0000u : word << 16);
}

inline void multiply_add(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct Operands {
    const unsigned *a, *b;
  } mine = {a, b};
  emulate::exchange(&mine, [&](unsigned base, Operands*& out) {
    out = &mine;
    const unsigned lane = nvcuda::wmma::lane(), g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 4; i++) {
      const unsigned row = g + i / 2 * 8, column = 2 * t + i % 2;
      float sum = sums[i];
      for (unsigned half = 0; half < 2; half++) {  // of the 16 terms
        double exact = sum;
        for (unsigned k = 0; k < 8; k++) {
          const Operands& left = *emulate::slot_of<Operands*>(base + row % 8 * 4 + k / 2);
          const Operands& right = *emulate::slot_of<Operands*>(base + column * 4 + k / 2);
          exact += static_cast<double>(half_of_word(left.a[2 * half + row / 8], k % 2)) *
                   half_of_word(right.b[half], k % 2);
        }
        sum = nvcuda::wmma::towards_zero(exact);
      }
      sums[i] = sum;
    }
  });
}

inline unsigned add_pairs(unsigned a, unsigned b) {
  unsigned sums = 0;
  for (int upper = 0; upper < 2; upper++)
    sums |= static_cast<unsigned>(__float2bfloat16_rn(half_of_word(a, upper) + half_of_word(b, upper)).bits) << 16 * upper;
  return sums;
}

inline unsigned upper_halves(float low, float high) {
  return __float_as_uint(low) >> 16 | (__float_as_uint(high) & 0xffff0000u);
}

}  // namespace cuda
}  // namespace sda
