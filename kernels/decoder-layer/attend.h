// Launches of a decoder layer's attention on an NVIDIA GPU; see attend.cu.
#pragma once

#include "cuda.h"

namespace sda {
namespace cuda {

// Floats of device memory that a call works in.
int64_t attend_scratch_floats(const Layer& layer, const Tokens& tokens);

// out [N, H D] from projected [N, (H + 2 G) D]: queries, keys, values of the new tokens, before head norms and rotary
// embedding. Keys and values go into the cache; for T > 1 the queries in `projected` are overwritten. What is launched
// just before this call may write `projected`, but neither places nor cache.
void attend(const Layer& layer, const Tokens& tokens, float* projected, float* scratch, float* out,
            cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
