// The arithmetic of one token in a step that combines streams, for a lane type F: float, or Vec of simd.h. Free of CPU
// specifics. L_i = log softmax(logits of stream i), P_i = exp(L_i). Equation numbers are those of the SDA paper, whose
// score is the one with anchor P2, total 1 and the weight -k a for P1.
//
//   (4, 5) score = total L_anchor + sum of u_i (L_i - L_anchor) over the other streams
//   (6)    JS    = 1/2 KL(P1 || M) + 1/2 KL(P2 || M),  M = (P1 + P2) / 2
//   (7)    T     = max(Tmin, T0 * 0.5 ^ (JS / sigma))
//   (8)    P'    = softmax(score / T)
#pragma once

#include <cmath>

#include "kinds.h"

namespace sda {

// Streams of a negative weight are floored here: LOG_PROB_FLOOR of contract.ts.
constexpr float kLogProbFloor = -1e4f;
// T is kept above this, so that a large divergence over sigma with Tmin = 0 cannot round it to 0.
constexpr double kLeastTemperature = 1e-6;

// P1 + P2 below which a token is left out of JS, and (log P - largest) / T below which it is left out of the final
// sum, where that holds for a whole vector. Over 200,000 tokens that is at most 7e-8 nats and 2e-8.
constexpr float kLeastMass = 1e-12f;
constexpr float kLeastExponent = -30.0f;

// A token's part of JS (eq 6): JS = sum of js_term. With u = (P2 - P1) / (P1 + P2) the two logarithms become
//   1/2 (P1 log(P1 / M) + P2 log(P2 / M)) = M / 2 f(u),  f(u) = (1 - u) log(1 - u) + (1 + u) log(1 + u)
// which has no cancellation: f(0) = 0 exactly and f >= 0. Up to |u| = 1/2 by its series, the sum of
// u^2n / (n (2n - 1)); beyond it 1 - |u| is kept as the quotient it comes from, and the other term, smooth
// there, is a polynomial (largest error 1e-9 before rounding).
template <typename F, typename AnyLane>
SDA_FN F js_term(F p1, F p2, const AnyLane& any) {
  const F sum = p1 + p2;
  const F inverse = select(sum > splat<F>(0.0f), splat<F>(1.0f) / sum, splat<F>(0.0f));
  const F difference = p2 - p1;
  const F w = max_of(difference, -difference) * inverse;
  const F t = w * w;
  const F t2 = t * t, t4 = t2 * t2;
  const F s01 = t * (1.0f / 6.0f) + 1.0f, s23 = t * (1.0f / 28.0f) + 1.0f / 15.0f;
  const F s45 = t * (1.0f / 66.0f) + 1.0f / 45.0f, s67 = t * (1.0f / 120.0f) + 1.0f / 91.0f;
  const F s89 = t * (1.0f / 190.0f) + 1.0f / 153.0f;
  F f = ((s01 + s23 * t2) + (s45 + s67 * t2 + s89 * t4) * t4) * t;
  const auto far = w > splat<F>(0.5f);
  if (any(far)) {
    const F rest = (min_of(p1, p2) + min_of(p1, p2)) * inverse;  // 1 - w
    const F tiny = splat<F>(1e-37f);
    const F falling = select(rest > tiny, rest * log_fast(max_of(rest, tiny)), splat<F>(0.0f));
    const F v = w - 0.75f;
    const F v2 = v * v;
    const F rising = (v * 1.5596157653e+00f + 9.7932762884e-01f) + (v * -5.4418876586e-02f + 2.8571430799e-01f) * v2 +
                     (v * -5.4231865164e-03f + 1.5547299995e-02f + v2 * 2.0761140170e-03f) * (v2 * v2);
    f = select(far, falling + rising, f);
  }
  return 0.25f * sum * f;
}

// The score with one more stream. A floor of -Infinity leaves a token that is impossible there impossible.
template <typename F>
SDA_FN F pulled(F score, F log_p, F log_anchor, float weight, float floor) {
  return score + weight * (max_of(log_p, splat<F>(floor)) - log_anchor);
}

// What a stream's log-probabilities are floored at.
SDA_FN float floor_of(float weight, const float* numbers) {
  return weight < 0.0f ? kLogProbFloor : numbers[kPositiveFloor];
}

// The weight of a stream, of a query with these numbers.
SDA_FN float weight_of(const StepKinds& kinds, const float* numbers, int stream, double js) {
  const float weight = numbers[kStepNumbers + stream];
  const double floor = numbers[kWeightFloor];
  return kinds.js_weights ? static_cast<float>(weight * (js > floor ? js : floor)) : weight;
}

SDA_FN double at_least(double temperature, double t_min) {
  const double least = t_min > kLeastTemperature ? t_min : kLeastTemperature;
  return temperature > least ? temperature : least;
}

// Eq 7. JS 0 or sigma = Infinity gives max(Tmin, T0) exactly.
SDA_FN double temperature_of(double js, double t0, double sigma, double t_min) {
  return at_least(t0 * pow(0.5, js / sigma), t_min);
}

// T0 N^(theta / H), H the entropy of softmax(score) in nats; theta = 0 gives max(Tmin, T0).
SDA_FN double temperature_by_entropy(double entropy, const float* numbers) {
  const double t0 = numbers[kT0], theta = numbers[kTheta];
  const double scaled = theta == 0.0 ? t0 : t0 * pow(static_cast<double>(numbers[kEntropyBase]), theta / entropy);
  return at_least(scaled, numbers[kTMin]);
}

}  // namespace sda
