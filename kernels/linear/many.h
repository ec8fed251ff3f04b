// Launches of linear layers for many rows of x on an NVIDIA GPU; see many.cu.
#pragma once

#include <cstddef>

#include "cuda.h"

namespace sda {
namespace cuda {

// Whether this is the faster form for M rows of x and N of weights: few.cu reads the weights once for each 16 rows of x,
// this one once, but it needs tiles for most of the multiprocessors. Where the two meet is measured (H200).
bool is_worth_many(int64_t M, int64_t N);

// Whether the functions below take these weights on the current device: all but float32, on compute capability 8.0 or
// later; quantised ones where columns stand in order. The device is asked once.
bool takes_many(const Weights& weights);

// Bytes of device memory that a call below needs beside its arguments; it begins at a multiple of 16 bytes.
size_t many_scratch_bytes(int64_t M, int64_t K);

// y [M, N] = x W^T + bias + residual for M rows of x, M at least 1; bias [N] and residual [M, N] may be null.
void linear_many(const Weights& weights, const float* x, const float* bias, const float* residual, int64_t M, float* y,
                 void* scratch, cudaStream_t stream);

// y [M, N / 2] = silu(gate) * up, where gate is the first half of x W^T + bias and up the second.
void gated_linear_many(const Weights& weights, const float* x, const float* bias, int64_t M, float* y, void* scratch,
                       cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
