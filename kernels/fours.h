// Lines of numbers, in tiles. A thread has four neighbouring numbers of a tile, by one access where lines begin at
// multiples of 16 bytes, else by four; a block has one tile, or several where there are more than run at once. Which
// thread has which numbers of a tile does not depend on either, and so no result does.
#pragma once

#include "device.h"

namespace sda {
namespace cuda {

// Whether all lines of V numbers from `lines` on begin at multiples of 16 bytes.
inline bool in_fours(const void* lines, int64_t V) {
  return V % 4 == 0 && is_aligned(lines);
}

// Blocks for the tiles of each of `lines` lines: no more than run at once, `at_once` on a multiprocessor, and none with
// a tile more than another needs to have.
inline unsigned blocks_of(int tiles, int64_t lines, int at_once) {
  const int64_t most = static_cast<int64_t>(device().processors) * at_once / lines;
  return static_cast<unsigned>(ceil_div(tiles, ceil_div(tiles, most > 1 ? most : 1)));
}

#if defined(__CUDACC__) || defined(SDA_CUDA_EMULATE)

// Calls visit(tile, numbers, odd) for each tile of a block, all threads together. load(tile) gives what a thread has of
// it: `numbers` of the first tile, the next one's ahead of each visit. `odd` is so every other time: visits that write
// one of two pieces of shared memory, read it behind one barrier and do no more with it, need no barrier between them.
template <typename Numbers, typename Load, typename Visit>
__device__ void for_tiles(int tiles, Numbers numbers, const Load& load, const Visit& visit) {
  int tile = static_cast<int>(blockIdx.x);
  bool odd = false;
  #pragma unroll 1
  for (;;) {
    const int next = tile + static_cast<int>(gridDim.x);
    Numbers ahead = numbers;
    if (next < tiles) ahead = load(next);
    visit(tile, numbers, odd);
    if (next >= tiles) return;
    tile = next, numbers = ahead, odd = !odd;
  }
}

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
