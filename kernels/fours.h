// Four neighbouring numbers of a line a thread: one access where lines begin at multiples of 16 bytes, else four. Which
// thread has which numbers does not depend on that, and so no result does.
#pragma once

#include "device.h"

namespace sda {
namespace cuda {

// Whether all lines of V numbers from `lines` on begin at multiples of 16 bytes.
inline bool in_fours(const void* lines, int64_t V) {
  return V % 4 == 0 && reinterpret_cast<uintptr_t>(lines) % 16 == 0;
}

#if defined(__CUDACC__) || defined(SDA_CUDA_EMULATE)

// line[first..first + 3]; `beyond` in place of what is not below V. `first` is a multiple of 4.
__device__ inline void load_four(const float* line, int64_t first, int64_t V, bool fours, float beyond, float out[4]) {
  if (fours && first < V) {
    load_floats<4>(line + first, out);
  } else {
    for (int j = 0; j < 4; j++) out[j] = first + j < V ? line[first + j] : beyond;
  }
}

__device__ inline void store_four(float* line, int64_t first, int64_t V, bool fours, const float in[4]) {
  if (fours && first < V) {
    *reinterpret_cast<float4*>(line + first) = {in[0], in[1], in[2], in[3]};
  } else {
    for (int j = 0; j < 4; j++)
      if (first + j < V) line[first + j] = in[j];
  }
}

#endif

}  // namespace cuda
}  // namespace sda
