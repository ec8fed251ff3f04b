// Linear layers on an NVIDIA GPU, op.cc says what they compute: which of three forms takes a call.
//
//   few.cu     up to 16 rows of x, on tensor cores: bound by the bytes of the weights
//   many.cu    prompts, on tensor cores: bound by their arithmetic
//   plain.cu   weights that neither takes
// The first and the last take more rows in groups.

#include "cuda.h"

#include "call.h"
#include "few.h"
#include "many.h"
#include "plain.h"

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
         void* scratch, cudaStream_t stream) {
  const int64_t K = weights.K, width = gated ? weights.N / 2 : weights.N;
  if (is_many(weights, rows.M)) {
    void* rest;
    const float* x = normed(rows, K, scratch, &rest, stream);
    if (gated) return gated_linear_many(weights, x, bias, rows.M, y, rest, stream);
    return linear_many(weights, x, bias, residual, rows.M, y, rest, stream);
  }
  const bool few = takes_few(weights, rows);
  const int64_t most = few ? kFewRows : kPlainRows;
  for (int64_t m = 0; m < rows.M; m += most) {
    const Rows some = {rows.x + m * K, rows.M - m < most ? rows.M - m : most, rows.norm, rows.epsilon};
    const auto form = few ? linear_few : linear_plain;
    form(gated, weights, some, bias, residual ? residual + m * width : nullptr, y + m * width, stream);
  }
}

}  // namespace

size_t linear_scratch_bytes(const Weights& weights, int64_t M) {
  if (!is_many(weights, M)) return 0;
  return round_up(M * weights.K, 4) * sizeof(float) + many_scratch_bytes(M, weights.K);
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
