// How the CUDA kernels read stored weights: one struct a type.
#pragma once

#include "../device.h"
#include "../math.h"

#if !defined(SDA_CUDA_EMULATE)
#include <cuda_fp16.h>
#endif

namespace sda {
namespace cuda {

__device__ inline float half_to_float(unsigned bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

// How 16 bytes of a stored type become floats.
struct Float32 {
  using Stored = float;
  static constexpr int kCount = 4;
  static __device__ float value(float stored) { return stored; }
  static __device__ void unpack(const uint4& raw, float out[kCount]) {
    const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
    for (int i = 0; i < 4; i++) out[i] = bits_to_float(static_cast<int32_t>(words[i]));
  }
};
struct Bfloat16 {
  using Stored = uint16_t;
  static constexpr int kCount = 8;
  static __device__ float value(unsigned stored) { return bits_to_float(static_cast<int32_t>(stored << 16)); }
  static __device__ void unpack(const uint4& raw, float out[kCount]) {
    const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
    for (int i = 0; i < 4; i++) {
      out[2 * i] = bits_to_float(static_cast<int32_t>(words[i] << 16));
      out[2 * i + 1] = bits_to_float(static_cast<int32_t>(words[i] & 0xffff0000u));
    }
  }
};
struct Float16 {
  using Stored = uint16_t;
  static constexpr int kCount = 8;
  static __device__ float value(unsigned stored) { return half_to_float(stored); }
  static __device__ void unpack(const uint4& raw, float out[kCount]) {
    const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
    for (int i = 0; i < 4; i++) {
      out[2 * i] = half_to_float(words[i] & 0xffff);
      out[2 * i + 1] = half_to_float(words[i] >> 16);
    }
  }
};

}  // namespace cuda
}  // namespace sda
