// Launches of the sampler on an NVIDIA GPU; see cuda.cu.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../device.h"
#include "settings.h"

namespace sda {
namespace cuda {

// The largest vocabulary that `sample` takes.
constexpr int64_t kMostTokens = 1024 * 1024;

// Bytes of device memory that a draw works in.
size_t sample_scratch_bytes(int64_t B, int64_t V);

// draw [B, draw_width] as in op.cc, of log_probs [B, V], logits [S B, V], stats [B, stats_width], settings
// [B, kSampleSettings] and uniforms [B]; all on the device. V at most kMostTokens.
struct SampleInput {
  const float *log_probs, *logits, *stats, *settings, *uniforms;
  int64_t B, S, V, stats_width;
};
void sample(const SampleKinds& kinds, const SampleInput& in, float* draw, void* scratch, cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
