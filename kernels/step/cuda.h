// Launches of a step on an NVIDIA GPU; see cuda.cu.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../device.h"
#include "math.h"

namespace sda {
namespace cuda {

// Bytes of device memory that a step works in.
size_t step_scratch_bytes(int64_t B, int64_t S, int64_t V, bool details);

// log_probs [B, V] and stats [B, step_stats_width] of logits [S B, V], numbers [B, step_numbers_width] and, for a mask by
// logits, least [B]; all on the device.
void step(const StepKinds& kinds, const float* logits, const float* numbers, const float* least, int64_t B, int64_t S,
          int64_t V, float* log_probs, float* stats, void* scratch, cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
