// Launches of the norms of a decoder layer on an NVIDIA GPU that no other launch takes along; see norms.cu.
#pragma once

#include "cuda.h"

namespace sda {
namespace cuda {

// projected [N, (H + 2 G) D]: all queries of a token are normalised together, and all of its keys, in place.
void normalise_heads(const Layer& layer, int64_t N, float* projected, cudaStream_t stream);

// y [N, K] = x + added / sqrt(mean(added^2) + epsilon) * norm; norm [K].
void add_normed(const float* added, int64_t N, int64_t K, const float* norm, float epsilon, const float* x, float* y,
                cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
