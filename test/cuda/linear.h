// Weights of the checks, on the host and on the device.
#pragma once

#include <memory>

#include "../../kernels/linear/cuda.h"
#include "check.h"

namespace check {

inline std::string name_of(sda::cuda::WeightType type) {
  using sda::cuda::WeightType;
  return type == WeightType::kFloat32 ? "float32" : type == WeightType::kBfloat16 ? "bfloat16" : "float16";
}

// Random bfloat16 weights on the device alone, for timings.
struct DeviceWeights {
  int64_t N, K;
  Buffer<uint16_t> memory;

  DeviceWeights(int64_t N_, int64_t K_) : N(N_), K(K_), memory(N_ * K_) {
    fill(memory.data(), memory.size(), 1.0f / std::sqrt(static_cast<float>(K)));
  }
  sda::cuda::Weights on_device() { return {memory.data(), sda::cuda::WeightType::kBfloat16, N, K}; }
};

// Random weights that the type holds exactly.
struct HostWeights {
  int64_t N, K;
  sda::cuda::WeightType type;
  std::vector<float> values;
  std::unique_ptr<Buffer<float>> wide;
  std::unique_ptr<Buffer<uint16_t>> narrow;

  HostWeights(int64_t N_, int64_t K_, sda::cuda::WeightType type_)
      : N(N_), K(K_), type(type_), values(normal(N_ * K_, 1.0f / std::sqrt(static_cast<float>(K_)))) {
    using sda::cuda::WeightType;
    if (type == WeightType::kFloat32) {
      wide = std::make_unique<Buffer<float>>(values);
      return;
    }
    std::vector<uint16_t> bits(values.size());
    for (size_t i = 0; i < values.size(); i++) {
      uint32_t word;
      if (type == WeightType::kBfloat16) {
        std::memcpy(&word, &values[i], 4);
        bits[i] = static_cast<uint16_t>(word >> 16);
        word = static_cast<uint32_t>(bits[i]) << 16;
        std::memcpy(&values[i], &word, 4);
      } else {
        bits[i] = half_of(values[i]);
        values[i] = value_of_half(bits[i]);
      }
    }
    narrow = std::make_unique<Buffer<uint16_t>>(bits);
  }

  sda::cuda::Weights on_device() {
    return {wide ? static_cast<const void*>(wide->data()) : narrow->data(), type, N, K};
  }

  // Rounds down; |x| in float16's range. Small values become subnormal numbers.
  static uint16_t half_of(float x) {
    int exponent;
    const float part = std::frexp(std::fabs(x), &exponent);  // 1/2 <= part < 1
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    if (x == 0 || exponent < -23) return sign;
    if (exponent <= -14) return sign | static_cast<uint16_t>(std::ldexp(std::fabs(x), 24));
    return static_cast<uint16_t>(sign | (exponent + 14) << 10 | (static_cast<int>(part * 2048) & 1023));
  }
  static float value_of_half(uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                     : std::ldexp(static_cast<float>(mantissa | 1024), exponent - 25);
    return bits & 0x8000 ? -size : size;
  }
};

}  // namespace check
