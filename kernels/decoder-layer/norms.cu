// RMSNorms that follow a linear layer on an NVIDIA GPU, so that it cannot take them along: of all heads of q and of k
// together, and of what attention and the MLP add to x. A block a row. Launches: 1.

#include "norms.h"

#include "../linear/call.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;

// 1 / RMS of a row of K values, for all threads of a block.
__device__ float scale_of(const float* row, int64_t K, float epsilon, float* scratch) {
  float squares = 0.0f;
  for (int64_t k = threadIdx.x; k < K; k += kThreads) squares += row[k] * row[k];
  return rms_scale(reduce_block(squares, Sum(), scratch), K, epsilon);
}

// Blocks with an even number have the queries of a token, the others its keys.
__global__ void normalise(float* projected, int64_t width, int64_t queries, int64_t keys, const float* query_norm,
                          const float* key_norm, float epsilon) {
  __shared__ float scratch[kThreads / kWarp];
  await_previous();
  const bool of_keys = blockIdx.x % 2 == 1;
  float* const row = projected + blockIdx.x / 2 * width + (of_keys ? queries : 0);
  const int64_t count = of_keys ? keys : queries;
  const float* const norm = of_keys ? key_norm : query_norm;
  const float scale = scale_of(row, count, epsilon, scratch);
  for (int64_t i = threadIdx.x; i < count; i += kThreads) row[i] = row[i] * scale * norm[i];
}

__global__ void add_rows(const float* added, int64_t K, const float* norm, float epsilon, const float* x, float* y) {
  __shared__ float scratch[kThreads / kWarp];
  await_previous();
  const int64_t first = blockIdx.x * K;
  const float scale = scale_of(added + first, K, epsilon, scratch);
  for (int64_t k = threadIdx.x; k < K; k += kThreads) y[first + k] = x[first + k] + added[first + k] * scale * norm[k];
}

}  // namespace

void normalise_heads(const Layer& layer, int64_t N, float* projected, cudaStream_t stream) {
  const int64_t queries = layer.H * layer.D, keys = layer.G * layer.D;
  SDA_LAUNCH(normalise, static_cast<unsigned>(2 * N), kThreads, 0, stream, projected, queries + 2 * keys, queries, keys,
             layer.query_norm, layer.key_norm, layer.epsilon);
}

void add_normed(const float* added, int64_t N, int64_t K, const float* norm, float epsilon, const float* x, float* y,
                cudaStream_t stream) {
  SDA_LAUNCH(add_rows, static_cast<unsigned>(N), kThreads, 0, stream, added, K, norm, epsilon, x, y);
}

}  // namespace cuda
}  // namespace sda
