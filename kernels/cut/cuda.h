// The launch of a cut on an NVIDIA GPU; see cuda.cu.
#pragma once

#include <cstdint>

#include "../device.h"
#include "settings.h"

namespace sda {
namespace cuda {

// least [B] as in op.cc, of settings [B, kCutSettings] and B lines of V logits, each `apart` behind the one before; all on
// the device. V at most kMostTokens of ../sample/cuda.h.
void cut(const float* logits, const float* settings, int64_t B, int64_t apart, int64_t V, float* least,
         cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
