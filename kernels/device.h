// What the CUDA kernels share: one way to launch, and reductions in a fixed order. Free of TensorFlow.
//
// Launches overlap: from compute capability 9.0 on, the blocks of a launch take their places while the launch before it
// still runs (programmatic dependent launch), so that what it costs to begin is hidden. Every block of every kernel calls
// await_previous() before it writes anything or reads what the launch before it writes. Ahead of that call it may read
// what never changes, as weights, and what launches before the last one wrote, past the first-level cache (load_fresh,
// copy_async): a launch begins once all blocks of the one before have been through the call.
//
// With SDA_CUDA_EMULATE a plain C++ compiler takes the same files, and test/cuda/emulate.h runs them on the CPU.
#pragma once

#include <cstdint>

#if defined(SDA_CUDA_EMULATE)
#include "../test/cuda/emulate.h"
#else
#include <cuda_runtime.h>

#include <atomic>
#include <utility>
#include <vector>

#define SDA_LAUNCH(kernel, grid, block, shared, stream, ...) \
  sda::cuda::launch(kernel, grid, block, shared, stream, __VA_ARGS__)
// Shared memory whose size the launch gives, as an array of `type`.
#define SDA_DYNAMIC_SHARED(type, name)                         \
  extern __shared__ __align__(16) unsigned char sda_dynamic[]; \
  type* const name = reinterpret_cast<type*>(sda_dynamic)
#endif

namespace sda {
namespace cuda {

inline int ceil_div(int64_t n, int64_t d) { return static_cast<int>((n + d - 1) / d); }
inline int64_t round_up(int64_t n, int64_t d) { return (n + d - 1) / d * d; }

inline bool is_aligned(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

struct Device {
  int capability, processors;  // capability 8.0 as 80; 0 where there is no device
  size_t shared;               // bytes of shared memory that a block can have
};

#if defined(SDA_CUDA_EMULATE)
inline Device& emulated_device() {
  static Device emulated = {90, 2, 227 * 1024};
  return emulated;
}
inline Device device() { return emulated_device(); }
template <auto kKernel>
void allow_shared() {}
#else
inline Device describe(int id) {
  int major, minor, processors, shared;
  const bool all = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, id) == cudaSuccess &&
                   cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, id) == cudaSuccess &&
                   cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, id) == cudaSuccess &&
                   cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, id) == cudaSuccess;
  return all ? Device{10 * major + minor, processors, static_cast<size_t>(shared)} : Device{0, 1, 0};
}

// The current device; all are asked once.
inline Device device() {
  static const std::vector<Device> known = [] {
    std::vector<Device> all;
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) return all;
    for (int id = 0; id < count; id++) all.push_back(describe(id));
    return all;
  }();
  int id;
  return cudaGetDevice(&id) == cudaSuccess && id < static_cast<int>(known.size()) ? known[id] : Device{0, 1, 0};
}

// Lets blocks of a kernel have as much dynamic shared memory as there is beside their own; each device is told once.
template <auto kKernel>
void allow_shared() {
  static std::atomic<uint64_t> told{0};
  int id;
  cudaFuncAttributes attributes;
  if (cudaGetDevice(&id) != cudaSuccess || id >= 64 || told.load() >> id & 1) return;
  if (cudaFuncGetAttributes(&attributes, kKernel) != cudaSuccess) return;
  const int bytes = static_cast<int>(device().shared - attributes.sharedSizeBytes);
  if (cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) == cudaSuccess)
    told.fetch_or(uint64_t{1} << id);
}

// A refused launch is told by cudaGetLastError.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            Arguments&&... arguments) {
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = device().capability >= 90 ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}
#endif

#if defined(__CUDACC__) || defined(SDA_CUDA_EMULATE)

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kWarp = 32;

__device__ inline int lane() { return threadIdx.x % kWarp; }
__device__ inline int warp() { return threadIdx.x / kWarp; }

// Waits until all earlier launches are through and what they wrote is seen; then lets the next launch take its places,
// once all blocks of this one are here.
__device__ inline void await_previous() {
#if !defined(SDA_CUDA_EMULATE) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// A value past the first-level cache, and a request to have one in the second-level cache.
template <typename T>
__device__ T load_fresh(const T* at) {
  return __ldcg(at);
}
__device__ inline void prefetch(const void* at) {
#if !defined(SDA_CUDA_EMULATE) && defined(__CUDA_ARCH__)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
#endif
}

// The sum before, with all that this thread has seen written before it visible to who sees the sum, and the reverse.
template <typename T>
__device__ T add_in_order(T* to, T amount) {
#if !defined(SDA_CUDA_EMULATE) && defined(__CUDA_ARCH__)
  T before;
  if constexpr (sizeof(T) == 8)
    asm volatile("atom.add.acq_rel.gpu.global.u64 %0, [%1], %2;" : "=l"(before) : "l"(to), "l"(amount) : "memory");
  else asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(before) : "l"(to), "r"(amount) : "memory");
  return before;
#else
  return atomicAdd(to, amount);
#endif
}

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
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      out[i] = four.x, out[i + 1] = four.y, out[i + 2] = four.z, out[i + 3] = four.w;
    }
  }
}

template <int kCount>
__device__ void store_floats(const float (&from)[kCount], float* to) {
  if constexpr (kCount == 1) {
    *to = from[0];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4)
      *reinterpret_cast<float4*>(to + i) = float4{from[i], from[i + 1], from[i + 2], from[i + 3]};
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

// Waits for the `warps` neighbouring warps of group `group` of a block, as __syncthreads() does for all; 15 groups at
// most where there are several warps in each.
__device__ inline void await_group(int group, int warps) {
#if defined(SDA_CUDA_EMULATE)
  emulate::await_group(group, warps);
#else
  if (warps == 1) __syncwarp();
  else asm volatile("barrier.sync %0, %1;" ::"r"(group + 1), "r"(warps * kWarp) : "memory");
#endif
}

// Adds to a counter for a block, after all that it has written, and gives every thread what the counter was; what the
// blocks wrote that added before is then visible to it. Every thread calls it. One thread's order serves all: what others
// of its block wrote before the barrier goes with its own.
template <typename T>
__device__ T arrive(T* counter, T amount) {
  __shared__ T before;
  __syncthreads();
  if (threadIdx.x == 0) before = add_in_order(counter, amount);
  __syncthreads();
  return before;
}

// Whether a block is the last of `blocks` to call this; see arrive. `arrived` is 0 before the launch, and again after it.
__device__ inline bool last_block(unsigned* arrived, unsigned blocks) {
  const bool last = arrive(arrived, 1u) == blocks - 1;
  if (last && threadIdx.x == 0) *arrived = 0;
  return last;
}

#endif

}  // namespace cuda
}  // namespace sda
