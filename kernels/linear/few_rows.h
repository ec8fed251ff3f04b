// The operands of few.cu for 2, 8 and 16 rows of x: how the three parts of x fill the 16 rows of a product on the tensor
// cores, so that none is empty without need and no number moves between registers. For it alone.
//
// A lane 4 g + t has eight columns of x and of weights at a time: words 0 to 3 of two numbers each. Words 0 and 1 make one
// product of 16 columns, words 2 and 3 another (tensor_cores.h has the layouts). multiply() gives the sums over these
// columns, an even and an odd row of weights in turn; the totals of each part of x are kept apart. So every form adds up
// the same numbers in the same order.
#pragma once

#include "tensor_cores.h"

namespace sda {
namespace cuda {

// Eight weights as bfloat16, in parts whose sum they are: the largest first.
template <int kParts>
struct Weight {
  unsigned part[kParts][4];
};

// a times words 2 * half and the next of the weights; small parts of the weights first.
template <int kParts>
__device__ void product(const unsigned (&a)[4], const Weight<kParts>& weight, int half, float (&sums)[4]) {
  for (float& sum : sums) sum = 0.0f;
#pragma unroll
  for (int w = kParts - 1; w >= 0; w--) {
    const unsigned b[2] = {weight.part[w][2 * half], weight.part[w][2 * half + 1]};
    multiply_add(sums, a, b);
  }
}

// Two rows: those of the product are row g % 2 in part g / 2 for g < 6, words 0 and 1; eight rows further the same with
// words 2 and 3. A warp splits x for four steps at once, lane by lane, and hands the parts over in shared memory.
struct TwoRows {
  static constexpr int kRows = 2, kEights = 1, kFold = 4, kTotals = 2;
  static constexpr int kShared = kFold * 3 * kRows * 4;  // in 16 bytes, a warp's
  unsigned a[4];

  static __device__ int row_of(int g) { return g % kRows; }
  static __device__ int step_of(int g) { return g / kRows; }
  __device__ void take(const float (&x)[kEights][8], int g, int t, uint4* shared) {
    unsigned parts[3][4];
    split<3>(x[0], parts);
    __syncwarp();
#pragma unroll
    for (int p = 0; p < 3; p++)
      shared[((step_of(g) * 3 + p) * kRows + row_of(g)) * 4 + t] =
          uint4{parts[p][0], parts[p][2], parts[p][1], parts[p][3]};
    __syncwarp();
  }
  __device__ void at_step(int step, int g, int t, const uint4* shared) {
    const uint4 words = shared[(step * 3 * kRows + (g < 6 ? g : g - 2)) * 4 + t];  // the last two rows are of no use
    a[0] = words.x, a[1] = words.y, a[2] = words.z, a[3] = words.w;
  }
  template <int kParts>
  __device__ void multiply(const Weight<kParts>& weight, float (&sums)[kTotals]) const {
    float first[4], second[4];
    product(a, weight, 0, first);
    product(a, weight, 1, second);
    for (int i = 0; i < 2; i++) sums[i] = first[i] + second[2 + i];
  }
  // Column i of row g, in its lanes; all lanes call it.
  static __device__ float value(const float (&total)[kTotals], int, int i) {
    const float middle = __shfl_down_sync(kWholeWarp, total[i], 8), low = __shfl_down_sync(kWholeWarp, total[i], 16);
    return (low + middle) + total[i];
  }
  static __device__ float of_four(const float (&run)[1]) {  // other lanes have the others
    const float two = run[0] + __shfl_xor_sync(kWholeWarp, run[0], 16);
    return two + __shfl_xor_sync(kWholeWarp, two, 8);
  }
};

// The sum of the squares of x: each form has every fourth step's by itself, and adds up these four in this order.
__device__ inline float sum_of_four(const float (&runs)[4]) { return (runs[0] + runs[2]) + (runs[1] + runs[3]); }

// Eight rows: those of a product are rows g in the largest part, eight rows further in the middle one; the smallest has
// words 0 and 1 in the first eight rows, 2 and 3 in the others.
struct EightRows {
  static constexpr int kRows = 8, kEights = 1, kFold = 1, kTotals = 6, kShared = 0;
  unsigned large[2][4], small[4];

  static __device__ int row_of(int g) { return g; }
  static __device__ int step_of(int) { return 0; }
  __device__ void take(const float (&x)[kEights][8], int, int, uint4*) {
    unsigned parts[3][4];
    split<3>(x[0], parts);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      large[half][0] = parts[0][2 * half], large[half][1] = parts[1][2 * half];
      large[half][2] = parts[0][2 * half + 1], large[half][3] = parts[1][2 * half + 1];
    }
    small[0] = parts[2][0], small[1] = parts[2][2], small[2] = parts[2][1], small[3] = parts[2][3];
  }
  __device__ void at_step(int, int, int, const uint4*) {}
  template <int kParts>
  __device__ void multiply(const Weight<kParts>& weight, float (&sums)[kTotals]) const {
    float first[4], second[4];
    product(large[0], weight, 0, first);
    product(large[1], weight, 1, second);
    for (int i = 0; i < 4; i++) sums[i] = first[i] + second[i];
    product(small, weight, 0, first);
    product(small, weight, 1, second);
    for (int i = 0; i < 2; i++) sums[4 + i] = first[i] + second[2 + i];
  }
  static __device__ float value(const float (&total)[kTotals], int, int i) {
    return (total[4 + i] + total[2 + i]) + total[i];
  }
  static __device__ float of_four(const float (&runs)[4]) { return sum_of_four(runs); }
};

// Sixteen rows: a product a part.
struct SixteenRows {
  static constexpr int kRows = 16, kEights = 2, kFold = 1, kTotals = 12, kShared = 0;
  unsigned a[3][2][4];  // part, half

  static __device__ int row_of(int g) { return g; }
  static __device__ int step_of(int) { return 0; }
  __device__ void take(const float (&x)[kEights][8], int, int, uint4*) {
#pragma unroll
    for (int e = 0; e < kEights; e++) {
      unsigned parts[3][4];
      split<3>(x[e], parts);
#pragma unroll
      for (int p = 0; p < 3; p++)
        for (int w = 0; w < 4; w++) a[p][w / 2][w % 2 * 2 + e] = parts[p][w];
    }
  }
  __device__ void at_step(int, int, int, const uint4*) {}
  template <int kParts>
  __device__ void multiply(const Weight<kParts>& weight, float (&sums)[kTotals]) const {
#pragma unroll
    for (int p = 0; p < 3; p++) {
      float first[4], second[4];
      product(a[p][0], weight, 0, first);
      product(a[p][1], weight, 1, second);
      for (int i = 0; i < 4; i++) sums[4 * p + i] = first[i] + second[i];
    }
  }
  static __device__ float value(const float (&total)[kTotals], int e, int i) {
    return (total[8 + 2 * e + i] + total[4 + 2 * e + i]) + total[2 * e + i];
  }
  static __device__ float of_four(const float (&runs)[4]) { return sum_of_four(runs); }
};

}  // namespace cuda
}  // namespace sda
