// Copies of 16 bytes from device memory into shared memory that run beside what a thread does (cp.async). A thread's
// copies since its last commit are a group. Before compute capability 8.0 a copy is made at once.
#pragma once

#include "device.h"

#if defined(SDA_CUDA_EMULATE)
#include "../test/cuda/copies.h"
#endif

namespace sda {
namespace cuda {

#if defined(SDA_CUDA_EMULATE)
inline void copy_async(void* to, const void* from, bool there = true) {
  __pipeline_memcpy_async(to, from, 16, there ? 0 : 16);
}
inline void commit_copies() { __pipeline_commit(); }
template <int kPending>
void await_copies() {
  __pipeline_wait_prior(kPending);
}
#else
// Zeros where `there` is false: `from` is not read then.
__device__ inline void copy_async(void* to, const void* from, bool there = true) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(there ? 16 : 0)
               : "memory");
#else
  *static_cast<uint4*>(to) = there ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
#endif
}
__device__ inline void commit_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until all groups but the last kPending have arrived, for the thread that asked for them.
template <int kPending>
__device__ void await_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}
#endif

}  // namespace cuda
}  // namespace sda
