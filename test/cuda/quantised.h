// Quantised weights of the checks: numbers, scales and zero points drawn at random, what they stand for in float64, and
// their bytes.
#pragma once

#include <memory>
#include <numeric>

#include "../../kernels/linear/cuda.h"
#include "check.h"

namespace check {

// How a matrix is quantised; bits 0: it is not.
struct Quantised {
  int bits = 0;
  sda::ScaleType scales = sda::kBfloat16Scale;
  sda::ZeroPoints zeros = sda::kOwnZeros;
  bool ordered = false;
  bool one_scale = false;  // for all groups of a row

  sda::QuantisedShape shape(int64_t N, int64_t K, int64_t parts) const { return {bits, N, K, parts, scales, zeros, ordered}; }
  std::string name() const {
    const char* const types[] = {"bfloat16", "float16", "float32"};
    const char* const points[] = {"", ", whole zeros", ", no zeros"};
    return "int" + std::to_string(bits) + ", " + types[scales] + " scales" + points[zeros] + (ordered ? ", ordered" : "") +
           (one_scale ? ", one a row" : "");
  }
};

class QuantisedNumbers {
 public:
  QuantisedNumbers(const Quantised& how, int64_t N, int64_t K) : how_(how), N_(N), K_(K), groups_((K + 31) / 32) {
    const auto draw = [](int least, int most) { return std::uniform_int_distribution<int>(least, most)(dice()); };
    const int most = how.bits == 8 ? 255 : 15;
    for (int64_t i = 0; i < N * groups_ * 32; i++) numbers_.push_back(draw(how.bits == 8 ? 1 : 0, most));
    const double size = 3.5 / (most * std::sqrt(static_cast<double>(K)));
    for (int64_t i = 0; i < N * groups_; i++) {
      const bool as_before = how.one_scale && i % groups_ > 0;
      const float scale = i % 11 == 5 ? 0.0f : static_cast<float>(size * (0.5 + draw(0, 1000) / 1000.0));
      scale_bits_.push_back(as_before ? scale_bits_.back() : stored(scale));
      zeros_.push_back(how.zeros == sda::kOwnZeros ? draw(0, 240) : how.bits == 8 ? draw(-128, 127) & 255 : draw(0, 15));
    }
    order_.resize(K);
    std::iota(order_.begin(), order_.end(), 0);
    if (how.ordered) std::shuffle(order_.begin(), order_.end(), dice());
  }

  // [N, K]
  std::vector<double> weights() const {
    std::vector<double> all(N_ * K_);
    for (int64_t n = 0; n < N_; n++) {
      for (int64_t k = 0; k < K_; k++) {
        const int64_t group = n * groups_ + k / 32;
        all[n * K_ + order_[k]] = value(scale_bits_[group]) * (numbers_[n * groups_ * 32 + k] - zero(zeros_[group]));
      }
    }
    return all;
  }

  // Header, blocks and order. Rows beyond the last are no numbers, and columns beyond it any: nothing may come of them.
  std::vector<unsigned char> bytes(int64_t parts) const {
    const sda::QuantisedShape shape = how_.shape(N_, K_, parts);
    std::vector<unsigned char> all(shape.bytes(), 0xff);
    const int64_t in_part = N_ / parts, scale_bytes = shape.scale_bytes();
    for (int64_t n = 0; n < N_; n++) {
      unsigned char* const block = all.data() + shape.block_at(n / in_part, n % in_part);
      const int64_t row = n % in_part % 16;
      for (int64_t g = 0; g < groups_; g++) {
        std::memcpy(block + scale_bytes * (16 * g + row), &scale_bits_[n * groups_ + g], scale_bytes);
        if (shape.has_zeros()) block[shape.zeros_at() + 16 * g + row] = static_cast<unsigned char>(zeros_[n * groups_ + g]);
        for (int64_t i = 0; i < 32; i++) {
          int shift;
          unsigned char& byte = block[shape.values_at() + sda::value_at(shape, row, 32 * g + i, &shift)];
          const int mask = how_.bits == 8 ? 255 : 15 << shift;
          byte = static_cast<unsigned char>((byte & ~mask) | numbers_[(n * groups_ + g) * 32 + i] << shift);
        }
      }
    }
    if (how_.ordered) std::memcpy(all.data() + shape.order_at(), order_.data(), 4 * K_);
    return all;
  }

 private:
  // The bits of a scale as it is stored, rounded down, and what they are.
  uint32_t stored(float scale) const {
    uint32_t bits;
    std::memcpy(&bits, &scale, 4);
    if (how_.scales == sda::kFloat32Scale || scale == 0) return bits;
    if (how_.scales == sda::kBfloat16Scale) return bits >> 16;
    return (bits >> 13) - (112u << 10);  // a normal float16
  }
  double value(uint32_t bits) const {
    if (how_.scales == sda::kFloat16Scale) return bits == 0 ? 0 : std::ldexp(1024 + (bits & 1023), static_cast<int>(bits >> 10) - 25);
    const uint32_t wide = how_.scales == sda::kBfloat16Scale ? bits << 16 : bits;
    float scale;
    std::memcpy(&scale, &wide, 4);
    return scale;
  }
  double zero(int byte) const {
    if (how_.zeros == sda::kHalfRange || (how_.zeros == sda::kOwnZeros && how_.bits == 8)) return how_.bits == 8 ? 128 : 8;
    if (how_.zeros == sda::kOwnZeros) return byte / 16.0;
    return how_.bits == 8 ? static_cast<signed char>(byte) + 128 : byte;
  }

  Quantised how_;
  int64_t N_, K_, groups_;
  std::vector<int> numbers_, zeros_;  // [N, groups 32], [N, groups]
  std::vector<uint32_t> scale_bits_;  // [N, groups]
  std::vector<int32_t> order_;
};

// A matrix of any bytes with small scales, on the device alone, for timings.
struct QuantisedOnDevice {
  sda::QuantisedShape shape;
  Buffer<uint16_t> memory;

  explicit QuantisedOnDevice(const sda::QuantisedShape& s) : shape(s), memory(s.bytes() / 2) {
    fill(memory.data(), memory.size(), 0.02f / std::sqrt(static_cast<float>(s.K)));
  }
  sda::cuda::Weights weights() { return sda::cuda::quantised_weights(memory.data(), shape); }
};

}  // namespace check
