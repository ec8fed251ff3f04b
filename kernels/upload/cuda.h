// Small values from the host to an NVIDIA GPU; see cuda.cu.
#pragma once

#include <cstdint>

#include "../device.h"

namespace sda {
namespace cuda {

// device[0..count) = host[0..count). The host's memory is free again when the call returns, and nothing has waited.
void upload(const int32_t* host, int64_t count, int32_t* device, cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
