// Keys or values of the checks, on the host and on the device, in float32 or bfloat16.
#pragma once

#include <memory>

#include "check.h"

namespace check {

inline float value_of_bfloat16(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, 4);
  return value;
}

// Random values that the type holds exactly.
class HostCache {
 public:
  HostCache(size_t size, bool narrow) : before(size) {
    const std::vector<float> drawn = normal(size, 1.0f);
    if (narrow) {
      std::vector<uint16_t> bits(size);
      for (size_t i = 0; i < size; i++) {
        uint32_t word;
        std::memcpy(&word, &drawn[i], 4);
        bits[i] = static_cast<uint16_t>(word >> 16);
        before[i] = value_of_bfloat16(bits[i]);
      }
      narrow_ = std::make_unique<Buffer<uint16_t>>(bits);
    } else {
      before.assign(drawn.begin(), drawn.end());
      wide_ = std::make_unique<Buffer<float>>(drawn);
    }
  }

  void* data() { return wide_ ? static_cast<void*>(wide_->data()) : narrow_->data(); }
  std::vector<double> read(const std::string& name) {
    std::vector<double> now;
    if (wide_) for (float value : wide_->read(name)) now.push_back(value);
    else for (uint16_t bits : narrow_->read(name)) now.push_back(value_of_bfloat16(bits));
    return now;
  }

  std::vector<double> before;

 private:
  std::unique_ptr<Buffer<float>> wide_;
  std::unique_ptr<Buffer<uint16_t>> narrow_;
};

// How far what is found is from what is wanted, relative to the largest of that. Where it is not what was there before, it
// may be rounded to bfloat16 where `narrow`.
inline double cache_error(const std::vector<double>& found, const std::vector<double>& before,
                          const std::vector<double>& wanted, bool narrow) {
  double most = 1e-30, apart = 0;
  for (double value : wanted) most = std::max(most, std::fabs(value));
  for (size_t i = 0; i < wanted.size(); i++) {
    int exponent;
    std::frexp(wanted[i], &exponent);
    const double rounding = narrow && wanted[i] != before[i] ? std::ldexp(1.0, exponent - 9) : 0.0;  // half a last place
    apart = std::max(apart, std::fabs(found[i] - wanted[i]) - rounding);
  }
  return apart / most;
}

}  // namespace check
