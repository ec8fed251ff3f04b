// Weights of the checks, on the host and on the device.
#pragma once

#include <memory>

#include "check.h"
#include "quantised.h"

namespace check {

// The element type of weights; of quantised ones how they are quantised, too.
struct Stored {
  sda::cuda::WeightType type;
  Quantised quantised = {};

  Stored(sda::cuda::WeightType type_ = sda::cuda::WeightType::kBfloat16) : type(type_) {}
  Stored(const Quantised& quantised_)
      : type(quantised_.bits == 8 ? sda::cuda::WeightType::kInt8 : sda::cuda::WeightType::kInt4), quantised(quantised_) {}
  bool is_quantised() const { return quantised.bits > 0; }
  std::string name() const {
    using sda::cuda::WeightType;
    if (is_quantised()) return quantised.name();
    return type == WeightType::kFloat32 ? "float32" : type == WeightType::kBfloat16 ? "bfloat16" : "float16";
  }
};

// Random weights on the device alone, for timings: bfloat16, or quantised as the product does it. `parts` as in quantised.h.
struct DeviceWeights {
  int64_t N, K;
  Stored stored;
  std::unique_ptr<Buffer<uint16_t>> narrow;
  std::unique_ptr<QuantisedOnDevice> quantised;

  DeviceWeights(int64_t N_, int64_t K_, const Stored& stored_ = {}, int64_t parts = 1) : N(N_), K(K_), stored(stored_) {
    if (stored.is_quantised()) {
      quantised = std::make_unique<QuantisedOnDevice>(stored.quantised.shape(N, K, parts));
      return;
    }
    narrow = std::make_unique<Buffer<uint16_t>>(N * K);
    fill(narrow->data(), narrow->size(), 1.0f / std::sqrt(static_cast<float>(K)));
  }
  sda::cuda::Weights on_device() {
    if (quantised) return quantised->weights();
    return {narrow->data(), sda::cuda::WeightType::kBfloat16, N, K};
  }
  double bytes() const { return quantised ? static_cast<double>(quantised->shape.bytes()) : 2.0 * N * K; }
};

// Random weights, as what is stored stands for.
struct HostWeights {
  int64_t N, K;
  Stored stored;
  std::vector<double> values;
  std::unique_ptr<Buffer<float>> wide;
  std::unique_ptr<Buffer<uint16_t>> narrow;
  std::unique_ptr<QuantisedNumbers> numbers;
  std::unique_ptr<Buffer<unsigned char>> whole, halves;  // quantised, in one part and in two

  HostWeights(int64_t N_, int64_t K_, const Stored& stored_) : N(N_), K(K_), stored(stored_) {
    using sda::cuda::WeightType;
    if (stored.is_quantised()) {
      numbers = std::make_unique<QuantisedNumbers>(stored.quantised, N, K);
      values = numbers->weights();
      whole = std::make_unique<Buffer<unsigned char>>(numbers->bytes(1));
      if (N % 2 == 0) halves = std::make_unique<Buffer<unsigned char>>(numbers->bytes(2));
      return;
    }
    const WeightType type = stored.type;
    std::vector<float> drawn = normal(N * K, 1.0f / std::sqrt(static_cast<float>(K)));
    if (type == WeightType::kFloat32) {
      wide = std::make_unique<Buffer<float>>(drawn);
      values.assign(drawn.begin(), drawn.end());
      return;
    }
    std::vector<uint16_t> bits(drawn.size());
    for (size_t i = 0; i < drawn.size(); i++) {
      uint32_t word;
      if (type == WeightType::kBfloat16) {
        std::memcpy(&word, &drawn[i], 4);
        bits[i] = static_cast<uint16_t>(word >> 16);
        word = static_cast<uint32_t>(bits[i]) << 16;
        std::memcpy(&drawn[i], &word, 4);
      } else {
        bits[i] = half_of(drawn[i]);
        drawn[i] = value_of_half(bits[i]);
      }
    }
    values.assign(drawn.begin(), drawn.end());
    narrow = std::make_unique<Buffer<uint16_t>>(bits);
  }

  // parts: 2 for a gated layer.
  sda::cuda::Weights on_device(int64_t parts = 1) {
    if (numbers) return sda::cuda::quantised_weights((parts == 1 ? whole : halves)->data(), stored.quantised.shape(N, K, parts));
    return {wide ? static_cast<const void*>(wide->data()) : narrow->data(), stored.type, N, K};
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
