// Linear layers on an NVIDIA GPU, op.cc says what they compute: which of the forms takes a call.
//
//   few.cu, few_quantised.cu   up to 16 rows of x, on tensor cores: bound by the bytes of the weights
//   many.cu                    prompts, on tensor cores: bound by their arithmetic
//   plain.cu                   weights that none takes
// All but many.cu take more rows in groups. Where columns of quantised weights stand in an order of their own, or are no
// multiple of 8, a launch before puts x into that order, its norm with it, and fills it up with zeros.

#include "cuda.h"

#include "call.h"
#include "few.h"
#include "many.h"
#include "plain.h"
#include "quantised_view.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;

__global__ void rms_norm_rows(const float* x, const float* norm, float epsilon, int64_t K, float* out) {
  __shared__ float scratch[kThreads / kWarp];
  await_previous();
  const float* line = x + blockIdx.x * K;
  float squares = 0.0f;
  for (int64_t k = threadIdx.x; k < K; k += kThreads) squares += line[k] * line[k];
  squares = reduce_block(squares, Sum(), scratch);
  const float scale = rms_scale(squares, K, epsilon);
  for (int64_t k = threadIdx.x; k < K; k += kThreads) out[blockIdx.x * K + k] = line[k] * scale * norm[k];
}

// out [M, depth] = norm(x), where there is a norm, its columns as `order` has them, or as they are where that is null.
__global__ void arrange_rows(const float* x, const float* norm, float epsilon, int64_t K, const int32_t* order,
                             int64_t depth, float* out) {
  __shared__ float scratch[kThreads / kWarp];
  await_previous();
  const float* line = x + blockIdx.x * K;
  float scale = 1.0f;
  if (norm) {
    float squares = 0.0f;
    for (int64_t k = threadIdx.x; k < K; k += kThreads) squares += line[k] * line[k];
    scale = rms_scale(reduce_block(squares, Sum(), scratch), K, epsilon);
  }
  for (int64_t k = threadIdx.x; k < depth; k += kThreads) {
    float value = 0.0f;
    if (k < K) {
      const int64_t column = order ? order[k] : k;
      value = norm ? line[column] * scale * norm[column] : line[column];
    }
    out[blockIdx.x * depth + k] = value;
  }
}

// Whether x must be arranged first, and how many columns it then has.
bool is_arranged(const Weights& weights) {
  return is_quantised(weights) && (weights.quantised.ordered || weights.K % 8 != 0);
}
int64_t depth_of(const Weights& weights) { return is_arranged(weights) ? round_up(weights.K, kQuantGroup) : weights.K; }

// The norm comes before.
bool is_many(const Weights& weights, int64_t M) { return takes_many(weights) && is_worth_many(M, weights.N); }

// norm(x) in the scratch, and what is left of it.
const float* normed(const Rows& rows, int64_t K, void* scratch, void** rest, cudaStream_t stream) {
  *rest = scratch;
  if (!rows.norm) return rows.x;
  float* out = static_cast<float*>(scratch);
  *rest = out + round_up(rows.M * K, 4);
  SDA_LAUNCH(rms_norm_rows, static_cast<unsigned>(rows.M), kThreads, 0, stream, rows.x, rows.norm, rows.epsilon, K,
             out);
  return out;
}

void run(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y,
         void* scratch, cudaStream_t stream);

// `run` after a launch that arranges x, into the scratch.
void run_arranged(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y,
                  void* scratch, cudaStream_t stream) {
  const int64_t depth = depth_of(weights);
  float* const x = static_cast<float*>(scratch);
  SDA_LAUNCH(arrange_rows, static_cast<unsigned>(rows.M), kThreads, 0, stream, rows.x, rows.norm, rows.epsilon, weights.K,
             order_of(weights), depth, x);
  Weights arranged = weights;
  arranged.K = depth;
  arranged.quantised.ordered = false;
  run(gated, arranged, {x, rows.M, nullptr, 0.0f}, bias, residual, y, x + rows.M * depth, stream);
}

void run(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y,
         void* scratch, cudaStream_t stream) {
  const int64_t K = weights.K, width = gated ? weights.N / 2 : weights.N;
  if (is_arranged(weights)) return run_arranged(gated, weights, rows, bias, residual, y, scratch, stream);
  if (is_many(weights, rows.M)) {
    void* rest;
    const float* x = normed(rows, K, scratch, &rest, stream);
    if (gated) return gated_linear_many(weights, x, bias, rows.M, y, rest, stream);
    return linear_many(weights, x, bias, residual, rows.M, y, rest, stream);
  }
  const auto form = is_quantised(weights) ? linear_few_quantised : takes_few(weights, rows) ? linear_few : linear_plain;
  const int64_t most = form == linear_plain ? kPlainRows : kFewRows;
  for (int64_t m = 0; m < rows.M; m += most) {
    const Rows some = {rows.x + m * K, rows.M - m < most ? rows.M - m : most, rows.norm, rows.epsilon};
    form(gated, weights, some, bias, residual ? residual + m * width : nullptr, y + m * width, stream);
  }
}

}  // namespace

bool takes(const Weights& weights) { return !is_quantised(weights) || device().capability >= 80; }

size_t linear_scratch_bytes(const Weights& weights, int64_t M) {
  const int64_t K = depth_of(weights);
  const size_t x = round_up(M * K, 4) * sizeof(float);
  if (is_many(weights, M)) return x + many_scratch_bytes(M, K);
  return is_arranged(weights) ? x : 0;
}

void linear(const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y,
            void* scratch, cudaStream_t stream) {
  run(false, weights, rows, bias, residual, y, scratch, stream);
}

void gated_linear(const Weights& weights, const Rows& rows, const float* bias, float* y, void* scratch,
                  cudaStream_t stream) {
  run(true, weights, rows, bias, nullptr, y, scratch, stream);
}

}  // namespace cuda
}  // namespace sda
