// Scores of several tokens of one row, which share their keys: a vector holds one column of kLanes keys, so that no sum of
// lanes is needed for each key. Every score is to the bit that of score_four (heads.h): the same products, added in the same
// order.
#pragma once

#include "heads.h"

namespace sda {

// turned[d * kLanes + j] = keys[j * D + d] for the first n of kLanes keys; the others are 0.
template <typename C>
inline void turn_keys(const typename C::Stored* keys, int64_t n, int64_t D, float* turned) {
  if (n < kLanes) std::fill(turned, turned + D * kLanes, 0.0f);
  for (int64_t j = 0; j < n; j++)
    for (int64_t d = 0; d < D; d++) turned[d * kLanes + j] = C::value(keys[j * D + d]);
}

// scores[q] = scale * the products of query q with kLanes turned keys, for exactly Q queries of D values, D a multiple of
// kLanes. sum_lanes4 adds lanes 0, 4, 8, ... of a product first, so do 1, 5, 9, ..., and then (0 + 2) + (1 + 3).
template <int Q>
inline void score_turned(const float* queries, int64_t stride, const float* turned, int64_t D, float scale,
                         Vec scores[Q]) {
  constexpr int kParts = kLanes / 4;
  Vec sums[4][Q];
  for (int i = 0; i < 4; i++) {
    Vec acc[Q][kParts] = {};
    for (int64_t d = i; d < D; d += kLanes) {
      for (int p = 0; p < kParts; p++) {
        const Vec key = load(turned + (d + 4 * p) * kLanes);
        for (int q = 0; q < Q; q++) acc[q][p] += queries[q * stride + d + 4 * p] * key;
      }
    }
    for (int q = 0; q < Q; q++) {
      sums[i][q] = acc[q][0];
      for (int p = 1; p < kParts; p++) sums[i][q] += acc[q][p];
    }
  }
  for (int q = 0; q < Q; q++) scores[q] = scale * ((sums[0][q] + sums[2][q]) + (sums[1][q] + sums[3][q]));
}

// What one of the tokens sees: `count` keys from `first` on, of which score_four takes the first count / 4 * 4.
struct Sight {
  int64_t first, count;
  int64_t fours() const { return first + count / 4 * 4; }
};

// The scores of Q queries of a token with the turned keys from `at` on, so far as score_four would take them.
// scores: [Q, sight.count]
template <int Q>
inline void score_seen(const float* queries, int64_t stride, const float* turned, int64_t at, int64_t D, float scale,
                       const Sight& sight, float* scores) {
  const int64_t from = std::max(at, sight.first), to = std::min(at + kLanes, sight.fours());
  if (from >= to) return;
  Vec found[Q];
  score_turned<Q>(queries, stride, turned, D, scale, found);
  for (int q = 0; q < Q; q++) {
    float* line = scores + q * sight.count + from - sight.first;
    if (to - from == kLanes) {
      store(line, found[q]);
      continue;
    }
    float lanes[kLanes];
    store(lanes, found[q]);
    std::copy(lanes + (from - at), lanes + (to - at), line);
  }
}

}  // namespace sda
