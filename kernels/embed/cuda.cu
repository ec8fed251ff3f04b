// Embeddings on an NVIDIA GPU: op.cc says what they are. A block a token, one launch.

#include "cuda.h"

#include "../linear/quantised_view.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;

// The table's line of a token; one outside it is taken as 0.
__device__ int64_t token_of(int32_t id, const float* drawn, int64_t width, int64_t V) {
  const float token = id < 0 ? drawn[static_cast<int64_t>(~id) * width] : 0.0f;
  const int64_t wanted = id < 0 ? static_cast<int64_t>(token) : id;
  return wanted >= 0 && wanted < V ? wanted : 0;
}

template <typename W>
__global__ void embed_lines(const typename W::Stored* table, int64_t V, int64_t K, const int32_t* ids,
                            const float* drawn, int64_t width, float* x) {
  await_previous();
  const typename W::Stored* line = table + token_of(ids[blockIdx.x], drawn, width, V) * K;
  for (int64_t k = threadIdx.x; k < K; k += kThreads) x[blockIdx.x * K + k] = W::value(line[k]);
}

// Of the same token in a quantised table.
template <int kBits>
__global__ void embed_quantised(QuantisedView view, const int32_t* order, int64_t V, int64_t K, const int32_t* ids,
                                const float* drawn, int64_t width, float* x) {
  await_previous();
  const int64_t n = token_of(ids[blockIdx.x], drawn, width, V);
  const uint8_t* const block = view.blocks + n / kQuantRows * view.block_bytes;
  const int row = static_cast<int>(n % kQuantRows);
  for (int64_t k = threadIdx.x; k < K; k += kThreads) {
    const int64_t group = k / kQuantGroup;
    const int i = static_cast<int>(k % kQuantGroup);
    unsigned words[2];
    load_eight<kBits>(view, block, group, row, i / 8, words);
    const float value = value_of<kBits>(words, i % 8) - zero_at<kBits>(view, block, group, row);
    x[blockIdx.x * K + (order ? order[k] : k)] = scale_at(view, block, group, row) * value;
  }
}

template <typename W>
void launch(const Weights& table, const int32_t* ids, const float* drawn, int64_t width, int64_t N, float* x,
            cudaStream_t stream) {
  using Stored = typename W::Stored;
  SDA_LAUNCH(embed_lines<W>, static_cast<unsigned>(N), kThreads, 0, stream, static_cast<const Stored*>(table.data),
             table.N, table.K, ids, drawn, width, x);
}

template <int kBits>
void launch_quantised(const Weights& table, const int32_t* ids, const float* drawn, int64_t width, int64_t N, float* x,
                      cudaStream_t stream) {
  SDA_LAUNCH(embed_quantised<kBits>, static_cast<unsigned>(N), kThreads, 0, stream, view_of(table), order_of(table), table.N,
             table.K, ids, drawn, width, x);
}

}  // namespace

void embed(const Weights& table, const int32_t* ids, const float* drawn, int64_t width, int64_t N, float* x,
           cudaStream_t stream) {
  switch (table.type) {
    case WeightType::kFloat32: return launch<Float32>(table, ids, drawn, width, N, x, stream);
    case WeightType::kBfloat16: return launch<Bfloat16>(table, ids, drawn, width, N, x, stream);
    case WeightType::kFloat16: return launch<Float16>(table, ids, drawn, width, N, x, stream);
    case WeightType::kInt8: return launch_quantised<8>(table, ids, drawn, width, N, x, stream);
    case WeightType::kInt4: return launch_quantised<4>(table, ids, drawn, width, N, x, stream);
  }
}

}  // namespace cuda
}  // namespace sda
