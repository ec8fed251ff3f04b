// How keys and values stand in the cache on an NVIDIA GPU: one struct a storage type, as cached.h has them for the CPU.
#pragma once

#include "../bfloat16.h"
#include "../device.h"
#include "../linear/stored.h"

namespace sda {
namespace cuda {

// To a place of either type: rounded to the nearest even one in bfloat16.
__device__ inline void store(float value, float& to) { to = value; }
__device__ inline void store(float value, uint16_t& to) { to = to_bfloat16(value); }

struct CachedFloat32 {
  using Stored = float;
  static constexpr bool kNarrow = false;
  static constexpr int kWide = 4;  // values in 16 bytes
  static __device__ __host__ constexpr int floats(int values) { return values; }  // that have room for them
  template <int kCount>
  static __device__ void load(const float* from, float out[kCount]) {
    load_floats<kCount>(from, out);
  }
};

// Widened exactly as they are read.
struct CachedBfloat16 {
  using Stored = uint16_t;
  static constexpr bool kNarrow = true;
  static constexpr int kWide = 8;
  static __device__ __host__ constexpr int floats(int values) { return (values + 1) / 2; }
  template <int kCount>
  static __device__ void load(const uint16_t* from, float out[kCount]) {
    if constexpr (kCount == 1) {
      out[0] = Bfloat16::value(*from);
    } else {
      static_assert(kCount == 4, "8 bytes");
      const uint2 four = *reinterpret_cast<const uint2*>(from);
      out[0] = Bfloat16::value(four.x & 0xffff), out[1] = bits_to_float(static_cast<int32_t>(four.x & 0xffff0000u));
      out[2] = Bfloat16::value(four.y & 0xffff), out[3] = bits_to_float(static_cast<int32_t>(four.y & 0xffff0000u));
    }
  }
};

}  // namespace cuda
}  // namespace sda
