// What kernels/linear/many.cu uses of CUDA's tensor cores and its bfloat16, for emulate.h. It ends the program with a
// message where a call breaks what the hardware demands of it.
//
// A fragment's 256 numbers lie 8 to a lane, in an order of this file's own: CUDA leaves it open. Products are exact;
// sums of 8 of them and the accumulator are rounded towards zero, as is measured of devices (Fasi, Higham, Mikaitis,
// Pranesh: Numerical behavior of NVIDIA tensor cores, 2021).
#pragma once

#include <type_traits>
#include <utility>

#include "copies.h"

struct __nv_bfloat16 { uint16_t bits; };

inline float __bfloat162float(__nv_bfloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  const unsigned bits = __float_as_uint(x);
  if (x != x) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major };

// Lane l has 8 neighbours of line l / 2: a row of A along K, a column of B along K, or a row of the accumulator.
template <typename Use, int M, int N, int K, typename T, typename Layout = void>
struct fragment {
  static_assert(M == 16 && N == 16 && K == 16, "the one shape that is emulated");
  static constexpr int num_elements = 8;
  T x[num_elements];
};

inline unsigned lane() { return emulate::block->current % emulate::kLanes; }

// All lanes of a warp come with the same arguments.
inline void together(const void* at, unsigned pitch, unsigned unit) {
  emulate::demand(emulate::aligned(at, 32), "a matrix does not begin at a multiple of 32 bytes");
  emulate::demand(pitch % unit == 0, "the rows of a matrix are not a multiple of 16 bytes apart");
  bool same = true;
  emulate::exchange(at, [&](unsigned base, const void*& out) {
    out = at;
    for (unsigned i = 0; i < emulate::kLanes; i++) same = same && emulate::slot_of<const void*>(base + i) == at;
  });
  emulate::demand(same, "the lanes of a warp do not name the same matrix");
}

template <typename Use, typename Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, __nv_bfloat16, Layout>& to, const __nv_bfloat16* from, unsigned pitch) {
  constexpr bool kAlong = std::is_same<Use, matrix_a>::value == std::is_same<Layout, row_major>::value;
  together(from, pitch, 8);
  const unsigned line = lane() / 2, first = lane() % 2 * 8;
  for (unsigned i = 0; i < 8; i++) to.x[i] = from[kAlong ? line * pitch + first + i : (first + i) * pitch + line];
}

using Sums = fragment<accumulator, 16, 16, 16, float>;

inline void store_matrix_sync(float* to, const Sums& from, unsigned pitch, layout_t) {
  together(to, pitch, 4);
  for (unsigned i = 0; i < 8; i++) to[lane() / 2 * pitch + lane() % 2 * 8 + i] = from.x[i];
}

inline void fill_fragment(Sums& sums, float value) { std::fill(sums.x, sums.x + 8, value); }

inline float towards_zero(double value) {
  const float nearest = static_cast<float>(value);
  return std::fabs(nearest) > std::fabs(value) ? std::nextafter(nearest, 0.0f) : nearest;
}

template <typename LayoutA, typename LayoutB>
void mma_sync(Sums& to, const fragment<matrix_a, 16, 16, 16, __nv_bfloat16, LayoutA>& a,
              const fragment<matrix_b, 16, 16, 16, __nv_bfloat16, LayoutB>& b, const Sums& c) {
  const std::pair<decltype(&a), decltype(&b)> mine(&a, &b);
  emulate::exchange(&mine, [&](unsigned base, decltype(&mine)& out) {
    out = &mine;
    const unsigned row = lane() / 2, first = lane() % 2 * 8;
    for (unsigned i = 0; i < 8; i++) {
      float sum = c.x[i];
      for (unsigned half = 0; half < 2; half++) {
        const auto& left = *emulate::slot_of<decltype(&mine)>(base + 2 * row + half)->first;
        const auto& right = *emulate::slot_of<decltype(&mine)>(base + 2 * (first + i) + half)->second;
        double exact = sum;
        for (int k = 0; k < 8; k++)
          exact += static_cast<double>(__bfloat162float(left.x[k])) * __bfloat162float(right.x[k]);
        sum = towards_zero(exact);
      }
      to.x[i] = sum;
    }
  });
}

}  // namespace wmma
}  // namespace nvcuda
