// Linear layers for many rows of x (a prompt) on an NVIDIA GPU's tensor cores: op.cc says what they compute.
//
// Tensor cores take bfloat16, so x is split into two of them, x = hi + lo, which leaves out at most 2^-17 of a value.
// Weights in bfloat16 are exact: two products, lo W and hi W. Weights in float16 are hi + lo exactly, and quantised ones
// s (u - z) with s in bfloat16; with another s but for 2^-17: three products, all but lo lo, at most 2^-16 of a term. Tensor cores round their sums towards zero, which adds up over a long row;
// therefore a sum begins anew every kChunk steps, and the sums of the chunks are added in ordinary float32. The order
// depends on K alone: a row of x has the same result whatever other rows there are. An x that is not finite gives NaN.
//
// A block has a tile of y, kRows x 128; a warp 32 x 64 of it. It goes along K in steps of 32 columns through a ring of
// stages in shared memory, which cp.async fills ahead of the products; float16 and quantised weights, and rows that do not
// begin at multiples of 16 bytes, go through registers one step ahead. Quantised ones are widened there, once for each tile
// of rows: to widen the matrix first would write and read 4 bytes a weight, for 4,096 x 11,008 of 4 bits 0.36 GB, as long
// as a tenth of the products with 512 rows take, and there would have to be room for it.
// Bytes: the weights once, and from L2 again for each further tile of rows (blocks that share weights run together); x
// once to split it, and its parts, as many bytes, for each 128 rows of weights. Operations: 2 M N K for each product.
// Launches: 2.

#include "many.h"

#include "many_block.h"

namespace sda {
namespace cuda {
namespace {

using namespace many;

constexpr int kSplitThreads = 256;
constexpr int kLargeRows = 128, kSmallRows = 64;  // of a tile

__global__ void split_rows(const float* x, int64_t M, int64_t K, int64_t rows, int64_t depth, bfloat16* parts) {
  await_previous();
  const int64_t m = blockIdx.x;
  for (int64_t k = threadIdx.x; k < depth; k += kSplitThreads) {
    const Parts both = split(m < M && k < K ? x[m * K + k] : 0.0f);
    parts[m * depth + k] = both.hi;
    parts[(rows + m) * depth + k] = both.lo;
  }
}

template <WeightType kType, bool kWide, int kRows>
__global__ void __launch_bounds__((Tile<kType, kRows>::kThreads)) many_rows(ProblemOf<kType> problem) {
#if defined(SDA_CUDA_EMULATE) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  SDA_DYNAMIC_SHARED(unsigned char, memory);
  await_previous();
  unsigned char* const aligned = memory + (32 - reinterpret_cast<uintptr_t>(memory) % 32) % 32;
  Block<kType, kWide, kRows>(problem, reinterpret_cast<bfloat16*>(aligned)).run();
#endif
}

template <WeightType kType, bool kWide, int kRows>
void launch(const ProblemOf<kType>& problem, cudaStream_t stream) {
  constexpr size_t kBytes = Tile<kType, kRows>::kBytes;
  allow_shared<many_rows<kType, kWide, kRows>>();
  const dim3 grid(ceil_div(problem.M, kRows), ceil_div(problem.N, kColumns));
  SDA_LAUNCH((many_rows<kType, kWide, kRows>), grid, (Tile<kType, kRows>::kThreads), kBytes, stream, problem);
}

// Large tiles read less for each product; small ones give a small y to more multiprocessors.
template <WeightType kType, bool kWide>
void launch(const ProblemOf<kType>& problem, cudaStream_t stream) {
  const int64_t large = static_cast<int64_t>(ceil_div(problem.M, kLargeRows)) * ceil_div(problem.N, kColumns);
  if (problem.M > kSmallRows && large >= device().processors) launch<kType, kWide, kLargeRows>(problem, stream);
  else launch<kType, kWide, kSmallRows>(problem, stream);
}

template <WeightType kType>
void launch(const ProblemOf<kType>& problem, cudaStream_t stream) {
  const bool wide = problem.K % kEight == 0 && is_aligned(problem.weight);
  if (wide) launch<kType, true>(problem, stream);
  else launch<kType, false>(problem, stream);
}

void run(bool gated, const Weights& weights, const float* x, const float* bias, const float* residual, int64_t M,
         float* y, void* scratch, cudaStream_t stream) {
  const int64_t N = weights.N, K = weights.K, rows = round_up(M, kLargeRows), depth = round_up(K, kStep);
  bfloat16* const parts = static_cast<bfloat16*>(scratch);
  SDA_LAUNCH(split_rows, static_cast<unsigned>(rows), kSplitThreads, 0, stream, x, M, K, rows, depth, parts);
  const uint16_t* const weight = static_cast<const uint16_t*>(weights.data);
  const Problem problem = {weight, parts, M, N, K, rows, depth, bias, residual, y, gated};
  switch (weights.type) {
    case WeightType::kFloat16: return launch<WeightType::kFloat16>(problem, stream);
    case WeightType::kInt8: return launch<WeightType::kInt8, true>({problem, view_of(weights)}, stream);
    case WeightType::kInt4: return launch<WeightType::kInt4, true>({problem, view_of(weights)}, stream);
    default: return launch<WeightType::kBfloat16>(problem, stream);
  }
}

}  // namespace

bool is_worth_many(int64_t M, int64_t N) {
  return M > 32 && 3 * static_cast<int64_t>(ceil_div(M, kSmallRows)) * ceil_div(N, kColumns) >= 2 * device().processors;
}

bool takes_many(const Weights& weights) {
  return weights.type != WeightType::kFloat32 && device().capability >= 80;
}

size_t many_scratch_bytes(int64_t M, int64_t K) {
  return 2 * round_up(M, kLargeRows) * round_up(K, kStep) * sizeof(bfloat16);
}

void linear_many(const Weights& weights, const float* x, const float* bias, const float* residual, int64_t M, float* y,
                 void* scratch, cudaStream_t stream) {
  run(false, weights, x, bias, residual, M, y, scratch, stream);
}

void gated_linear_many(const Weights& weights, const float* x, const float* bias, int64_t M, float* y, void* scratch,
                       cudaStream_t stream) {
  run(true, weights, x, bias, nullptr, M, y, scratch, stream);
}

}  // namespace cuda
}  // namespace sda
