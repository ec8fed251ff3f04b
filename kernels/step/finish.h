// The last passes of a step over blocks of tokens: from the score to log P'; see op.cc.
#pragma once

#include "streams.h"

namespace sda {

// Sums over exp(score - largest) in a block: of themselves, and times their exponents.
struct ScoreSums {
  double mass = 0.0, weighted = 0.0;
};

inline ScoreSums score_sums(const Query& query, const float* y, int64_t begin, int64_t end) {
  ScoreSums all;
  Vec masses = {}, weighted = {};
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        // below this the exponential is 0, and 0 * -Infinity would not be
        const Vec v = max_of(load_some(y + i, n, -kInfinity) - query.score_largest, splat<Vec>(-100.0f));
        const Vec mass = exp_fast(v);
        masses += mass;
        weighted += mass * v;
      },
      [&] {
        all.mass += sum_lanes(masses);
        all.weighted += sum_lanes(weighted);
        masses = weighted = Vec{};
      });
  return all;
}

// nats, of a distribution by its exponentials relative to the largest
inline double entropy_of(double mass, double weighted) {
  const double entropy = std::log(mass) - weighted / mass;
  return entropy > 0.0 ? entropy : 0.0;  // never -0
}

inline double tempered_sum(const Query& query, const float* y, int64_t begin, int64_t end) {
  const float inverse = static_cast<float>(1.0 / query.temperature);
  double sum = 0.0;
  Vec sums = {};
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        const Vec v = (load_some(y + i, n, -kInfinity) - query.score_largest) * inverse;
        if (any(v > splat<Vec>(kLeastExponent))) sums += exp_fast(v);
      },
      [&] {
        sum += sum_lanes(sums);
        sums = Vec{};
      });
  return sum;
}

inline void normalise(const Query& query, int64_t begin, int64_t end, float* y) {
  if (query.bad_stream >= 0) {
    std::fill(y + begin, y + end, 0.0f);
    return;
  }
  const float inverse = static_cast<float>(1.0 / query.temperature);
  const float log_sum = static_cast<float>(std::log(query.final_sum));
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        const Vec log_p = load_some(y + i, n, -kInfinity);
        store_some(y + i, (log_p - query.score_largest) * inverse - log_sum, n);
      },
      [] {});
}

}  // namespace sda
