// Runs CUDA kernels on the CPU: enough of CUDA's language for the kernels of this project. The threads of a block are
// fibers that switch at barriers and warp operations; blocks run one after another, in a shuffled order, so that a
// kernel that counts on an order fails. A barrier that not all threads reach ends the program with a message.
//
// Not modelled: speed, and memory ordering between blocks that run at the same time. Races between threads that no
// barrier separates are found by chance: threads run in a shuffled order, and some warps are held back while others run
// ahead to the next barrier.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t = nullptr) {
  std::memset(p, value, bytes);
  return cudaSuccess;
}

struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };

namespace emulate {

constexpr unsigned kLanes = 32;
constexpr size_t kStack = 128 * 1024;

enum class Waits { kNothing, kBlock, kWarp, kGroup, kEnded };

struct Fiber {
  ucontext_t context;  // where it starts; later switches go through `jump`, which makes no system call
  jmp_buf jump;
  std::unique_ptr<char[]> stack;
  bool started = false;
  Waits waits = Waits::kNothing;
  uint64_t slot = 0;  // what a warp operation hands over
  unsigned group = 0, members = 0;  // that it waits for, and how many threads they are
};

struct Block {
  std::vector<Fiber> fibers;
  unsigned current = 0;
  jmp_buf scheduler;
  std::function<void()> body;
};
inline Block* block = nullptr;
inline std::vector<unsigned char> dynamic_shared;

inline void wait_for(Waits what) {
  Fiber& fiber = block->fibers[block->current];
  fiber.waits = what;
  if (_setjmp(fiber.jump) == 0) _longjmp(block->scheduler, 1);
}

// A fiber serves the same thread of one block after another.
inline void enter() {
  for (;;) {
    block->body();
    wait_for(Waits::kEnded);
  }
}

inline void resume(Fiber& fiber) {
  if (_setjmp(block->scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.jump, 1);
  fiber.started = true;
  setcontext(&fiber.context);
}

inline void start(Fiber& fiber) {
  fiber.stack.reset(new char[kStack]);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter, 0);
}

inline std::mt19937& dice() {
  static std::mt19937 generator(7);
  return generator;
}

[[noreturn]] inline void stuck(const char* kernel) {
  std::fprintf(stderr, "emulate: a barrier in %s is not reached by all threads of block %u, %u\n", kernel,
               blockIdx.x, blockIdx.y);
  std::exit(3);
}

// Releases the fibers that wait for each other, once all of their block or warp do.
inline bool release() {
  auto& fibers = block->fibers;
  const auto ended = [](const Fiber& f) { return f.waits == Waits::kEnded; };
  bool any = false;
  const bool whole = std::all_of(fibers.begin(), fibers.end(), [&](const Fiber& f) {
    return f.waits == Waits::kBlock || ended(f);
  });
  if (whole) {
    for (Fiber& f : fibers)
      if (f.waits == Waits::kBlock) { f.waits = Waits::kNothing; any = true; }
    return any;
  }
  for (Fiber& one : fibers) {
    if (one.waits != Waits::kGroup) continue;
    const auto waits = [&](const Fiber& f) { return f.waits == Waits::kGroup && f.group == one.group; };
    if (std::count_if(fibers.begin(), fibers.end(), waits) < one.members) continue;
    const unsigned group = one.group;
    for (Fiber& f : fibers)
      if (f.waits == Waits::kGroup && f.group == group) f.waits = Waits::kNothing;
    any = true;
  }
  for (size_t first = 0; first < fibers.size(); first += kLanes) {
    const size_t last = std::min(first + kLanes, fibers.size());
    const bool together = std::all_of(fibers.begin() + first, fibers.begin() + last,
                                      [](const Fiber& f) { return f.waits == Waits::kWarp; });
    if (!together) continue;
    for (size_t i = first; i < last; i++) fibers[i].waits = Waits::kNothing;
    any = true;
  }
  return any;
}

// Warps that stand still in this round of a block, so that others get ahead of them; not all of those that can go on.
inline std::vector<bool> held_warps() {
  const auto& fibers = block->fibers;
  std::vector<bool> held((fibers.size() + kLanes - 1) / kLanes);
  std::vector<size_t> ready;
  for (size_t warp = 0; warp < held.size(); warp++) {
    const auto first = fibers.begin() + warp * kLanes;
    const auto last = fibers.begin() + std::min(fibers.size(), (warp + 1) * kLanes);
    const bool can = std::any_of(first, last, [](const Fiber& f) { return f.waits == Waits::kNothing; });
    if (can) ready.push_back(warp);
  }
  if (ready.size() < 2) return held;
  const unsigned bits = dice()();
  for (size_t i = 0; i < ready.size(); i++) held[ready[i]] = bits >> i % 32 & 1;
  held[ready[dice()() % ready.size()]] = false;
  return held;
}

inline void await_group(int group, int warps) {
  Fiber& mine = block->fibers[block->current];
  mine.group = static_cast<unsigned>(group);
  mine.members = static_cast<unsigned>(warps) * kLanes;
  wait_for(Waits::kGroup);
}

inline void run_block(const char* kernel) {
  auto& fibers = block->fibers;
  std::vector<unsigned> order(fibers.size());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), dice());
  for (Fiber& fiber : fibers) fiber.waits = Waits::kNothing;
  for (;;) {
    bool ran = false;
    const std::vector<bool> held = held_warps();
    for (unsigned i : order) {
      if (fibers[i].waits != Waits::kNothing || held[i / kLanes]) continue;
      block->current = i;
      threadIdx = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
      resume(fibers[i]);
      ran = true;
    }
    const bool over = std::all_of(fibers.begin(), fibers.end(),
                                  [](const Fiber& f) { return f.waits == Waits::kEnded; });
    if (over) return;
    if (!release() && !ran) stuck(kernel);
  }
}

inline void launch(const char* kernel, dim3 grid, dim3 threads, size_t shared, const std::function<void()>& body) {
  Block state;
  state.fibers.resize(threads.x * threads.y * threads.z);
  for (Fiber& fiber : state.fibers) start(fiber);
  state.body = body;
  block = &state;
  gridDim = grid;
  blockDim = threads;
  std::vector<unsigned> order(grid.x * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), dice());
  for (unsigned i : order) {
    blockIdx = dim3(i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y);
    dynamic_shared.assign(shared + 64, 0xff);  // NaN: memory that was not written shows
    run_block(kernel);
  }
  block = nullptr;
}

inline void* dynamic_memory() {
  const uintptr_t at = reinterpret_cast<uintptr_t>(dynamic_shared.data());
  return reinterpret_cast<void*>((at + 15) / 16 * 16);
}

// Every lane gives a value and sees those of the others.
template <typename T, typename Pick>
T exchange(T value, const Pick& pick) {
  static_assert(sizeof(T) <= 8, "wider than a slot");
  Fiber& mine = block->fibers[block->current];
  mine.slot = 0;
  std::memcpy(&mine.slot, &value, sizeof(T));
  wait_for(Waits::kWarp);
  const unsigned base = block->current / kLanes * kLanes;
  T result;
  pick(base, result);
  wait_for(Waits::kWarp);
  return result;
}

template <typename T>
T slot_of(unsigned thread) {
  T value;
  std::memcpy(&value, &block->fibers[thread].slot, sizeof(T));
  return value;
}

}  // namespace emulate

#define SDA_LAUNCH(kernel, grid, block_size, shared, stream, ...) \
  emulate::launch(#kernel, grid, block_size, shared, [=] { kernel(__VA_ARGS__); })
#define SDA_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulate::dynamic_memory())

inline void __syncthreads() { emulate::wait_for(emulate::Waits::kBlock); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulate::wait_for(emulate::Waits::kWarp); }
inline void __threadfence() {}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  const unsigned lane = emulate::block->current % emulate::kLanes;
  return emulate::exchange(value, [&](unsigned base, T& out) {
    out = emulate::slot_of<T>(base + (lane ^ static_cast<unsigned>(mask)));
  });
}
template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  return emulate::exchange(value, [&](unsigned base, T& out) {
    out = emulate::slot_of<T>(base + static_cast<unsigned>(source) % emulate::kLanes);
  });
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
  const unsigned lane = emulate::block->current % emulate::kLanes;
  return emulate::exchange(value, [&](unsigned base, T& out) {
    out = emulate::slot_of<T>(base + (lane + delta < emulate::kLanes ? lane + delta : lane));
  });
}
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned delta) {
  const unsigned lane = emulate::block->current % emulate::kLanes;
  return emulate::exchange(value, [&](unsigned base, T& out) {
    out = emulate::slot_of<T>(base + (lane >= delta ? lane - delta : lane));
  });
}

template <typename T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at = before + value;
  return before;
}
template <typename T>
T atomicMin(T* at, T value) {
  const T before = *at;
  *at = std::min(before, value);
  return before;
}
template <typename T>
T atomicMax(T* at, T value) {
  const T before = *at;
  *at = std::max(before, value);
  return before;
}

inline int __float_as_int(float x) { int i; std::memcpy(&i, &x, 4); return i; }
inline unsigned __float_as_uint(float x) { unsigned i; std::memcpy(&i, &x, 4); return i; }
inline float __int_as_float(int i) { float x; std::memcpy(&x, &i, 4); return x; }
inline float __uint_as_float(unsigned i) { float x; std::memcpy(&x, &i, 4); return x; }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }
template <typename T>
T __ldg(const T* at) { return *at; }
template <typename T>
T __ldcs(const T* at) { return *at; }
template <typename T>
T __ldcg(const T* at) { return *at; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

struct __half { uint16_t bits; };
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline float __half2float(__half x) {
  const int exponent = x.bits >> 10 & 31, mantissa = x.bits & 1023;
  const float size = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                     : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                      : std::ldexp(static_cast<float>(mantissa | 1024), exponent - 25);
  return x.bits & 0x8000 ? -size : size;
}
