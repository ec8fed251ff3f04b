// What the CUDA kernels share: one way to launch, and reductions in a fixed order. Free of TensorFlow.
//
// With SDA_CUDA_EMULATE a plain C++ compiler takes the same files, and test/cuda/emulate.h runs them on the CPU.
#pragma once

#include <cstdint>

#if defined(SDA_CUDA_EMULATE)
#include "../test/cuda/emulate.h"
#else
#include <cuda_runtime.h>
#define SDA_LAUNCH(kernel, grid, block, shared, stream, ...) \
  kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
// Shared memory whose size the launch gives, as an array of `type`.
#define SDA_DYNAMIC_SHARED(type, name)                         \
  extern __shared__ __align__(16) unsigned char sda_dynamic[]; \
  type* const name = reinterpret_cast<type*>(sda_dynamic)
#endif

namespace sda {
namespace cuda {

inline int ceil_div(int64_t n, int64_t d) { return static_cast<int>((n + d - 1) / d); }
inline int64_t round_up(int64_t n, int64_t d) { return (n + d - 1) / d * d; }

#if defined(__CUDACC__) || defined(SDA_CUDA_EMULATE)

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kWarp = 32;

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const { return a + b; }
};
struct Largest {
  template <typename T>
  __device__ T operator()(T a, T b) const { return a > b ? a : b; }
};
struct Least {
  template <typename T>
  __device__ T operator()(T a, T b) const { return a < b ? a : b; }
};

// kCount floats: one, or fours that begin at a multiple of 16 bytes.
template <int kCount>
__device__ void load_floats(const float* from, float out[kCount]) {
  if constexpr (kCount == 1) {
    out[0] = *from;
  } else {
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      out[i] = four.x, out[i + 1] = four.y, out[i + 2] = four.z, out[i + 3] = four.w;
    }
  }
}

// The reduction of one value a thread over a warp; every lane has it.
template <typename T, typename Op>
__device__ T reduce_warp(T value, Op op) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = op(value, __shfl_xor_sync(kWholeWarp, value, offset));
  return value;
}

// The reduction of one value a thread over a block of whole warps, in a fixed order; every thread has it.
// `scratch`: one value a warp in shared memory, free again when the call returns.
template <typename T, typename Op>
__device__ T reduce_block(T value, Op op, T* scratch) {
  value = reduce_warp(value, op);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  T all = scratch[0];
  for (unsigned warp = 1; warp < blockDim.x / kWarp; warp++) all = op(all, scratch[warp]);
  __syncthreads();
  return all;
}

// Whether a block is the last of its line of the grid (blockIdx.x) to call this; what the others wrote before is then
// visible to it. Every thread calls it. `arrived` is 0 before the launch, and again after it.
__device__ inline bool last_block(unsigned* arrived) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrived, 1u) == gridDim.x - 1;
    if (last) *arrived = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

#endif

}  // namespace cuda
}  // namespace sda
