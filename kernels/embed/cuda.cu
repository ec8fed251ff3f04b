// Embeddings on an NVIDIA GPU: op.cc says what they are. A block a token, one launch.

#include "cuda.h"

#include "../linear/stored.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;

template <typename W>
__global__ void embed_lines(const typename W::Stored* table, int64_t V, int64_t K, const int32_t* ids,
                            const float* drawn, int64_t width, float* x) {
  await_previous();
  const int32_t id = ids[blockIdx.x];
  const float token = id < 0 ? drawn[static_cast<int64_t>(~id) * width] : 0.0f;
  const int64_t wanted = id < 0 ? static_cast<int64_t>(token) : id;
  const typename W::Stored* line = table + (wanted >= 0 && wanted < V ? wanted : 0) * K;
  for (int64_t k = threadIdx.x; k < K; k += kThreads) x[blockIdx.x * K + k] = W::value(line[k]);
}

template <typename W>
void launch(const Weights& table, const int32_t* ids, const float* drawn, int64_t width, int64_t N, float* x,
            cudaStream_t stream) {
  using Stored = typename W::Stored;
  SDA_LAUNCH(embed_lines<W>, static_cast<unsigned>(N), kThreads, 0, stream, static_cast<const Stored*>(table.data),
             table.N, table.K, ids, drawn, width, x);
}

}  // namespace

void embed(const Weights& table, const int32_t* ids, const float* drawn, int64_t width, int64_t N, float* x,
           cudaStream_t stream) {
  switch (table.type) {
    case WeightType::kFloat32: return launch<Float32>(table, ids, drawn, width, N, x, stream);
    case WeightType::kBfloat16: return launch<Bfloat16>(table, ids, drawn, width, N, x, stream);
    case WeightType::kFloat16: return launch<Float16>(table, ids, drawn, width, N, x, stream);
  }
}

}  // namespace cuda
}  // namespace sda
