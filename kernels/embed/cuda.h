// The launch of an embedding on an NVIDIA GPU; see cuda.cu.
#pragma once

#include "../linear/cuda.h"

namespace sda {
namespace cuda {

// x [N, K] = the lines of table [V, K] of the tokens: ids[n], or drawn[~ids[n] * W] where it is below 0; all on the
// device. A token outside the table is taken as 0.
void embed(const Weights& table, const int32_t* ids, const float* drawn, int64_t W, int64_t N, float* x,
           cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
