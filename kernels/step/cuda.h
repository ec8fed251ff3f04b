// Launches of the SDA step on an NVIDIA GPU; see cuda.cu.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../device.h"
#include "math.h"

namespace sda {
namespace cuda {

// Bytes of device memory that a step works in.
size_t step_scratch_bytes(int64_t B, int64_t S, int64_t V);

// log_probs [B, V] and stats [B, kStats] of logits [S B, V] (S = 1 or 2) and strength [B]; all on the device.
void step(const StepSettings& settings, const float* logits, const float* strength, int64_t B, int64_t S,
          int64_t V, float* log_probs, float* stats, void* scratch, cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
