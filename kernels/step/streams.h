// Pass 1 of a step over blocks of tokens: the streams' exponentials and sums; see op.cc for how passes fit together.
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

// What a block says of one stream.
struct StreamBlock {
  float largest = -kInfinity;
  double sum = 0.0;        // of exp(logit - shift), shift = largest or 0 where all are -Infinity
  int64_t bad_token = -1;  // the first NaN or +Infinity
};

// What is known of one query between the passes.
struct Query {
  int bad_stream = -1;
  int64_t bad_token = -1;
  float largest[kMostStreams];
  double sum[kMostStreams];
  float log_sum[kMostStreams];  // L = (logit - largest) - log_sum
  double js = 0.0, temperature = 0.0, score_entropy = 0.0, final_sum = 0.0;
  float score_largest = -kInfinity;
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

// `e`: where the exponentials go, null where nobody reads them.
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
        if (e) store_some(e + i, v, n);
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
}

// Probability = exponential of the block * scale.
inline float scale_of(const Query& query, int s, const StreamBlock& block) {
  if (block.largest == -kInfinity) return 0.0f;
  return static_cast<float>(std::exp(static_cast<double>(block.largest) - query.largest[s]) /
                            query.sum[s]);
}

}  // namespace sda
