// The arithmetic of one attention head over cached keys and values (C: cached.h), in float32.
#pragma once

#include <cmath>

#include "../linear/dot.h"
#include "../math.h"
#include "cached.h"

namespace sda {

// RMSNorm of one head (where `norm` is given), then the rotary embedding (where `rotation` is) in the half-split form
// of the Hugging Face checkpoints: (a, b) -> (a cos - b sin, b cos + a sin) for the two halves of the head.
// rotation: D / 2 cosines, then D / 2 sines. `to` may be `from`.
inline void norm_and_rotate(const float* from, int64_t D, const float* norm, float epsilon,
                            const float* rotation, float* to) {
  float scale = 1.0f;
  if (norm) {
    float squares = 0.0f;
    for (int64_t d = 0; d < D; d++) squares += from[d] * from[d];
    scale = 1.0f / std::sqrt(squares / static_cast<float>(D) + epsilon);
  }
  if (!rotation) {
    for (int64_t d = 0; d < D; d++) to[d] = norm ? from[d] * scale * norm[d] : from[d];
    return;
  }
  const int64_t half = D / 2;
  for (int64_t d = 0; d < half; d++) {
    const float a = norm ? from[d] * scale * norm[d] : from[d];
    const float b = norm ? from[d + half] * scale * norm[d + half] : from[d + half];
    const float cos = rotation[d], sin = rotation[half + d];
    to[d] = a * cos - b * sin;
    to[d + half] = b * cos + a * sin;
  }
}

// scores[q * count + j] = scale * dot(queries[q], keys[j]) for four keys and exactly Q queries.
template <typename C, int Q>
inline void score_four(const float* queries, int64_t stride, const typename C::Stored* keys, int64_t D,
                       float scale, float* scores, int64_t count) {
  const int64_t whole = D / kLanes * kLanes;
  Vec acc[Q][4] = {};
  for (int64_t d = 0; d < whole; d += kLanes) {
    Vec key[4];
    for (int j = 0; j < 4; j++) key[j] = C::load(keys + j * D + d);
    for (int q = 0; q < Q; q++) {
      const Vec query = load(queries + q * stride + d);
      for (int j = 0; j < 4; j++) acc[q][j] += query * key[j];
    }
  }
  for (int q = 0; q < Q; q++) {
    float sums[4];
    sum_lanes4(acc[q], sums);
    for (int j = 0; j < 4; j++) {
      for (int64_t d = whole; d < D; d++) sums[j] += queries[q * stride + d] * C::value(keys[j * D + d]);
      scores[q * count + j] = scale * sums[j];
    }
  }
}

// The same for the keys from `j` on, one at a time, and any number of queries.
template <typename C>
inline void score_rest(const float* queries, int64_t stride, int64_t Q, const typename C::Stored* keys, int64_t j,
                       int64_t count, int64_t D, float scale, float* scores) {
  for (; j < count; j++) {
    for (int64_t q = 0; q < Q; q++) {
      Vec acc = {};
      int64_t d = 0;
      for (; d + kLanes <= D; d += kLanes)
        acc += load(queries + q * stride + d) * C::load(keys + j * D + d);
      float sum = sum_lanes(acc);
      for (; d < D; d++) sum += queries[q * stride + d] * C::value(keys[j * D + d]);
      scores[q * count + j] = scale * sum;
    }
  }
}

// The same for all keys.
template <typename C>
inline void score_keys(const float* queries, int64_t stride, int64_t Q, const typename C::Stored* keys,
                       int64_t count, int64_t D, float scale, float* scores) {
  int64_t j = 0;
  for (; j + 4 <= count; j += 4) {
    const auto* four = keys + j * D;
    int64_t q = 0;
    for (; q + 3 <= Q; q += 3)
      score_four<C, 3>(queries + q * stride, stride, four, D, scale, scores + q * count + j, count);
    for (; q < Q; q++)
      score_four<C, 1>(queries + q * stride, stride, four, D, scale, scores + q * count + j, count);
  }
  score_rest<C>(queries, stride, Q, keys, j, count, D, scale, scores);
}

// Softmax in place.
inline void softmax(float* scores, int64_t count) {
  Vec peaks = splat<Vec>(-kInfinity);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) peaks = max_of(peaks, load(scores + j));
  float peak = max_lanes(peaks);
  for (; j < count; j++) peak = max_of(peak, scores[j]);
  Vec sums = {};
  for (j = 0; j + kLanes <= count; j += kLanes) {
    const Vec e = exp_fast(load(scores + j) - peak);
    store(scores + j, e);
    sums += e;
  }
  float sum = sum_lanes(sums);
  for (; j < count; j++) sum += scores[j] = exp_fast(scores[j] - peak);
  const float scale = 1.0f / sum;
  for (j = 0; j < count; j++) scores[j] *= scale;
}

// out[q * D + d] = sum over j of weights[q * count + j] values[j * D + d], for exactly Q queries and V vectors of columns.
template <typename C, int Q, int V>
inline void mix_columns(const float* weights, const typename C::Stored* values, int64_t count, int64_t D, float* out) {
  Vec acc[Q][V] = {};
  for (int64_t j = 0; j < count; j++) {
    Vec value[V];
    for (int v = 0; v < V; v++) value[v] = C::load(values + j * D + v * kLanes);
    for (int q = 0; q < Q; q++)
      for (int v = 0; v < V; v++) acc[q][v] += weights[q * count + j] * value[v];
  }
  for (int q = 0; q < Q; q++)
    for (int v = 0; v < V; v++) store(out + q * D + v * kLanes, acc[q][v]);
}

// The same for all columns.
template <typename C, int Q>
inline void mix_few(const float* weights, const typename C::Stored* values, int64_t count, int64_t D, float* out) {
  constexpr int kWide = kLanes == 16 ? 4 : 2;  // vectors for which there are registers
  int64_t d = 0;
  for (; d + kWide * kLanes <= D; d += kWide * kLanes) mix_columns<C, Q, kWide>(weights, values + d, count, D, out + d);
  for (; d + kStep <= D; d += kStep) mix_columns<C, Q, 2>(weights, values + d, count, D, out + d);
  for (; d < D; d++) {
    for (int q = 0; q < Q; q++) {
      float sum = 0.0f;
      for (int64_t j = 0; j < count; j++) sum += weights[q * count + j] * C::value(values[j * D + d]);
      out[q * D + d] = sum;
    }
  }
}

// The same for any number of queries.
template <typename C>
inline void mix_values(const float* weights, int64_t Q, const typename C::Stored* values, int64_t count,
                       int64_t D, float* out) {
  int64_t q = 0;
  for (; q + 4 <= Q; q += 4) mix_few<C, 4>(weights + q * count, values, count, D, out + q * D);
  weights += q * count;
  out += q * D;
  if (Q - q == 3) mix_few<C, 3>(weights, values, count, D, out);
  if (Q - q == 2) mix_few<C, 2>(weights, values, count, D, out);
  if (Q - q == 1) mix_few<C, 1>(weights, values, count, D, out);
}

}  // namespace sda
