// Rows of x as whole numbers of 16 bits, for products with quantised weights: q = round(x / scale), scale = max |x| / 32512
// in each group of 32. What is lost is at most 1.6e-5 of a group's largest value.
//
// Four neighbours take 8 bytes: with `bytes` the upper parts h of all, then the lower l, q = 256 h + l, both signed;
// else the pairs (0, 2) and (1, 3) as int16, which meet the even and the odd bytes of the weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "quantised.h"
#include "quantised_forms.h"

namespace sda {

constexpr float kSplitLargest = 32512.0f;
// Groups whose largest value is below are zero: the reciprocal of their scale would not be a float32.
constexpr float kSplitLeast = 1e-30f;

// Memory for the split rows of a matrix's x.
class SplitMemory {
 public:
  void allocate(int64_t rows, const QuantisedShape& shape) {
    groups_ = shape.groups();
    surplus_ = shape.bits == 8 ? -128 : -8;
    unit_ = shape.zeros == kOwnZeros ? 16.0f : 1.0f;
    values_.resize(rows * groups_ * kSplitGroupBytes);
    scale_.resize(rows * groups_);
    start_.resize(rows * groups_);
    zero_.resize(rows * groups_);
  }
  int64_t groups() const { return groups_; }

  // Rows from m on.
  SplitRows rows(int64_t m) const {
    const int64_t at = m * groups_, stride = groups_ * kSplitGroupBytes;
    return {values_.data() + m * stride, stride, groups_, scale_.data() + at, start_.data() + at, zero_.data() + at};
  }

  // Group `at % groups` of row `at / groups` of 32 values.
  void split(int64_t at, const float x[kQuantGroup], bool bytes) {
    int32_t largest = 0, bits[kQuantGroup];
    std::memcpy(bits, x, sizeof(bits));
    for (int32_t value : bits) largest = std::max(largest, value & 0x7fffffff);
    float size;
    std::memcpy(&size, &largest, sizeof(size));
    const bool finite = largest < 0x7f800000, used = finite && size >= kSplitLeast;
    const float factor = used ? kSplitLargest / size : 0.0f;
    int32_t q[kQuantGroup], sum = 0;
    for (int i = 0; i < kQuantGroup; i++) q[i] = used ? nearest(static_cast<double>(x[i]) * factor) : 0;
    for (int32_t value : q) sum += value;
    scale_[at] = finite ? (used ? size / kSplitLargest : 0.0f) : std::numeric_limits<float>::quiet_NaN();
    start_[at] = surplus_ * sum;
    zero_[at] = static_cast<float>(sum) / unit_;
    uint8_t* to = values_.data() + at * kSplitGroupBytes;
    for (int i = 0; i < kQuantGroup; i += 4, to += kSplitFourBytes) {
      if (bytes) write_bytes(q + i, to);
      else write_pairs(q + i, to);
    }
  }

 private:
  // Ties to even: adding 1.5 * 2^52 leaves the whole number in the low bits. A product of two float32 is exact in x, so
  // that it is one and the same whether the compiler fuses it with the addition or not.
  static int32_t nearest(double x) {
    const double shifted = x + 6755399441055744.0;
    int64_t bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    return static_cast<int32_t>(bits);
  }
  static void write_bytes(const int32_t q[4], uint8_t* to) {
    for (int i = 0; i < 4; i++) {
      const int32_t upper = (q[i] + 128) >> 8;
      to[i] = static_cast<uint8_t>(upper);
      to[4 + i] = static_cast<uint8_t>(q[i] - (upper << 8));
    }
  }
  static void write_pairs(const int32_t q[4], uint8_t* to) {
    const int16_t pairs[4] = {static_cast<int16_t>(q[0]), static_cast<int16_t>(q[2]), static_cast<int16_t>(q[1]),
                              static_cast<int16_t>(q[3])};
    std::memcpy(to, pairs, sizeof(pairs));
  }

  int64_t groups_ = 0;
  std::vector<uint8_t> values_;
  std::vector<float> scale_, zero_;
  std::vector<int32_t> start_;
  int32_t surplus_ = 0;  // as SplitRows::start has it
  float unit_ = 1.0f;    // zero points in one
};

}  // namespace sda
