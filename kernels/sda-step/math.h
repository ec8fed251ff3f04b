// The arithmetic of one token in the SDA step (equation numbers of the paper), for a lane type F: float, or Vec
// of simd.h. Free of CPU specifics.
//
//   (4) steering = log P2 - log P1
//   (5) log P    = log P2 + k a steering
//   (6) JS       = 1/2 KL(P1 || M) + 1/2 KL(P2 || M),  M = (P1 + P2) / 2
//   (7) T        = max(Tmin, T0 * 0.5 ^ (JS / sigma))
//   (8) P'       = softmax(log P / T)
#pragma once

#include <cmath>

#include "../math.h"

namespace sda {

// Columns of the step's statistics: STEP_STATS of contract.ts.
constexpr int64_t kStats = 6;

// The settings of a step, attributes of the operation.
struct StepSettings {
  float t0, sigma, t_min, plausibility;
  bool base;  // take P1 instead of eq 5
};

// log P1 is floored here in eq 4: LOG_PROB_FLOOR of contract.ts.
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

// Eqs 4 and 5. A token masked in P2 (log P2 = -Infinity) stays impossible, whatever the strength k a.
template <typename F>
SDA_FN F steered_log_prob(F log_p1, F log_p2, float strength) {
  const F steering = log_p2 - max_of(log_p1, splat<F>(kLogProbFloor));
  const F masked = splat<F>(-kInfinity);
  return select(log_p2 > masked, log_p2 + strength * steering, masked);
}

// Eq 7. JS 0 or sigma = Infinity gives max(Tmin, T0) exactly.
SDA_FN double temperature_of(double js, double t0, double sigma, double t_min) {
  const double scaled = t0 * pow(0.5, js / sigma);
  const double least = t_min > kLeastTemperature ? t_min : kLeastTemperature;
  return scaled > least ? scaled : least;
}

}  // namespace sda
