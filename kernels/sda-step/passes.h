// The passes of the SDA step over blocks of tokens; see op.cc for how they fit together.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "math.h"

namespace sda {

// Tokens that a thread takes at a time: their exponentials stay in its first-level cache.
constexpr int64_t kBlock = 2048;
// Vectors summed in float32 before they are added to a float64 sum.
constexpr int64_t kPartial = 16 * kLanes;

inline bool any(VecI mask) { return any_lane(mask); }

// What a block says of one stream in pass 1.
struct StreamBlock {
  float largest = -kInfinity;
  double sum = 0.0;        // of exp(logit - shift), shift = largest or 0 where all are -Infinity
  int64_t bad_token = -1;  // the first NaN or +Infinity
};

// What a block says of a query in passes 2 and 3.
struct QueryBlock {
  double js = 0.0;
  float largest = -kInfinity;  // of the steered log-probabilities
  double sum = 0.0;
};

// What is known of one query between the passes.
struct Query {
  int bad_stream = -1;
  int64_t bad_token = -1;
  float largest[2];
  double sum[2];
  float log_sum[2];  // log P = (logit - largest) - log_sum
  double js = 0.0, temperature = 0.0, final_sum = 0.0;
  float steered_largest = -kInfinity;
};

// Calls step(i, n) over begin..end: n = kLanes but for the last part. flush() after every kPartial values.
template <typename Step, typename Flush>
inline void for_vectors(int64_t begin, int64_t end, const Step& step, const Flush& flush) {
  for (int64_t part = begin; part < end; part += kPartial) {
    const int64_t stop = std::min(part + kPartial, end);
    int64_t i = part;
    for (; i + kLanes <= stop; i += kLanes) step(i, static_cast<int64_t>(kLanes));
    if (i < stop) step(i, stop - i);
    flush();
  }
}

inline Vec load_some(const float* p, int64_t n, float fill) {
  return n == kLanes ? load(p) : load_part(p, n, fill);
}
inline void store_some(float* p, Vec v, int64_t n) {
  if (n == kLanes) {
    store(p, v);
  } else {
    store_part(p, v, n);
  }
}

inline int64_t first_bad(const float* x, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++)
    if (x[i] != x[i] || x[i] == kInfinity) return i;
  return -1;
}

inline StreamBlock exponentials(const float* x, int64_t begin, int64_t end, float* e) {
  StreamBlock block;
  Vec peaks = splat<Vec>(-kInfinity);
  VecI bad = {};
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        const Vec v = load_some(x + i, n, -kInfinity);
        bad |= (v != v) | (v == splat<Vec>(kInfinity));
        peaks = max_of(v, peaks);
      },
      [] {});
  if (any(bad)) {
    block.bad_token = first_bad(x, begin, end);
    return block;
  }
  block.largest = max_lanes(peaks);
  const float shift = block.largest > -kInfinity ? block.largest : 0.0f;
  Vec sums = {};
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        const Vec v = exp_fast(load_some(x + i, n, -kInfinity) - shift);
        store_some(e + i, v, n);
        sums += v;
      },
      [&] {
        block.sum += sum_lanes(sums);
        sums = Vec{};
      });
  return block;
}

inline void combine_streams(const StreamBlock* block, int64_t S, int64_t blocks, Query& query) {
  for (int64_t s = 0; s < S; s++) {
    float largest = -kInfinity;
    int64_t bad_token = -1;
    for (int64_t b = 0; b < blocks; b++) {
      largest = std::max(largest, block[s * blocks + b].largest);
      if (bad_token < 0) bad_token = block[s * blocks + b].bad_token;
    }
    if (bad_token >= 0 || largest == -kInfinity) {
      query.bad_stream = static_cast<int>(s);
      query.bad_token = bad_token;
      return;
    }
    double sum = 0.0;
    for (int64_t b = 0; b < blocks; b++) {
      const StreamBlock& part = block[s * blocks + b];
      if (part.sum > 0.0) sum += part.sum * std::exp(static_cast<double>(part.largest) - largest);
    }
    query.largest[s] = largest;
    query.sum[s] = sum;
    query.log_sum[s] = static_cast<float>(std::log(sum));
  }
  if (S == 1) {
    query.largest[1] = query.largest[0];
    query.sum[1] = query.sum[0];
    query.log_sum[1] = query.log_sum[0];
  }
}

// Probability = exponential of the block * scale.
inline float scale_of(const Query& query, int s, const StreamBlock& block) {
  if (block.largest == -kInfinity) return 0.0f;
  return static_cast<float>(std::exp(static_cast<double>(block.largest) - query.largest[s]) /
                            query.sum[s]);
}

inline QueryBlock steer(const StepSettings& settings, const Query& query, const StreamBlock& block1, const StreamBlock& block2,
                 const float* x1, const float* x2, const float* e1, const float* e2,
                 float strength, int64_t begin, int64_t end, float* y) {
  const float scale1 = scale_of(query, 0, block1), scale2 = scale_of(query, 1, block2);
  const Vec masked = splat<Vec>(-kInfinity);
  // log P2 of the likeliest instructed token is -log_sum
  const float least = settings.plausibility > 0.0f ? std::log(settings.plausibility) - query.log_sum[1] : -kInfinity;
  QueryBlock part;
  Vec js = {}, peaks = masked;
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        const Vec p1 = load_some(e1 + i, n, 0.0f) * scale1;
        const Vec p2 = load_some(e2 + i, n, 0.0f) * scale2;
        if (any(p1 + p2 > splat<Vec>(kLeastMass))) js += js_term(p1, p2, any);
        const Vec log_p1 = (load_some(x1 + i, n, -kInfinity) - query.largest[0]) - query.log_sum[0];
        const Vec log_p2 = (load_some(x2 + i, n, -kInfinity) - query.largest[1]) - query.log_sum[1];
        Vec log_p = settings.base ? log_p1 : steered_log_prob(log_p1, log_p2, strength);
        if (settings.plausibility > 0.0f) log_p = select(log_p2 >= splat<Vec>(least), log_p, masked);
        peaks = max_of(log_p, peaks);
        store_some(y + i, log_p, n);
      },
      [&] {
        part.js += sum_lanes(js);
        js = Vec{};
      });
  part.largest = max_lanes(peaks);
  return part;
}

inline void combine_parts(const StepSettings& settings, const QueryBlock* part, int64_t blocks,
                          Query& query) {
  if (query.bad_stream >= 0) return;
  double js = 0.0;
  for (int64_t b = 0; b < blocks; b++) {
    js += part[b].js;
    query.steered_largest = std::max(query.steered_largest, part[b].largest);
  }
  query.js = std::min(std::max(js, 0.0), 0.693147180559945309);
  query.temperature = temperature_of(query.js, settings.t0, settings.sigma, settings.t_min);
  // no token is left, or the strength overflowed
  if (!(std::abs(query.steered_largest) < kInfinity)) query.bad_stream = 1;
}

inline double tempered_sum(const Query& query, const float* y, int64_t begin, int64_t end) {
  const float inverse = static_cast<float>(1.0 / query.temperature);
  double sum = 0.0;
  Vec sums = {};
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        const Vec v = (load_some(y + i, n, -kInfinity) - query.steered_largest) * inverse;
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
        store_some(y + i, (log_p - query.steered_largest) * inverse - log_sum, n);
      },
      [] {});
}

inline void write_stats(const Query& query, int64_t S, float* out) {
  const bool sound = query.bad_stream < 0;
  out[0] = sound ? static_cast<float>(query.js) : 0.0f;
  out[1] = sound ? static_cast<float>(query.temperature) : 0.0f;
  for (int s = 0; s < 2; s++)
    out[2 + s] = sound ? static_cast<float>(query.largest[s] + std::log(query.sum[s])) : 0.0f;
  out[4] = static_cast<float>(query.bad_stream);
  out[5] = static_cast<float>(query.bad_token);
}

}  // namespace sda
