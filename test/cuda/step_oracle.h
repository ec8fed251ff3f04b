// A step that combines streams, in float64 as its documentation writes it; and the rules that the checks use.
#pragma once

#include "../../kernels/step/cuda.h"
#include "check.h"

namespace check {

struct StepCase {
  std::string name;
  sda::StepKinds kinds;
  int64_t B, S, V;
  std::vector<float> logits, numbers;
  std::vector<float> least = {};  // [B] for a mask by logits

  const float* line(int64_t q, int64_t s) const { return &logits[(q * S + s) * V]; }
  const float* numbers_of(int64_t q) const { return &numbers[q * sda::step_numbers_width(S)]; }
};

// SDA: the anchor is the instructed stream, or the base stream itself.
inline sda::StepKinds sda_kinds(int64_t S = 2, bool plausible = false, bool base = false) {
  const int last = static_cast<int>(S) - 1;
  return {base ? 0 : last, {0, last}, false, plausible ? sda::Mask::kPlausible : sda::Mask::kNone, last,
          sda::Temperature::kDivergence, false};
}

// A query's numbers; weights of all streams follow.
inline std::vector<float> numbers_line(float t0, float sigma, float t_min, float alpha, const std::vector<float>& weights,
                                       float total = 1, float positive_floor = -INFINITY) {
  std::vector<float> line(sda::kStepNumbers, 0.0f);
  line[sda::kTotal] = total, line[sda::kPositiveFloor] = positive_floor;
  line[sda::kT0] = t0, line[sda::kSigma] = sigma, line[sda::kTMin] = t_min, line[sda::kAlpha] = alpha;
  line[sda::kWeightFloor] = 0.3f, line[sda::kEntropyBase] = 0.8f, line[sda::kTheta] = 1.5f;
  line.insert(line.end(), weights.begin(), weights.end());
  return line;
}

struct StepExpected {
  std::vector<double> log_probs, rounding;  // [B, V]; what float32 rounding of the score may add to a difference
  std::vector<double> stats;                // [B, width]
  std::vector<double> t_rounding;           // [B]: of T, relative, where it follows from the score
};

inline double log_sum_exp(const float* x, int64_t V) {
  double most = -INFINITY, sum = 0;
  for (int64_t i = 0; i < V; i++) most = std::max(most, static_cast<double>(x[i]));
  for (int64_t i = 0; i < V; i++) sum += std::exp(x[i] - most);
  return most + std::log(sum);
}

inline double entropy(const std::vector<double>& log_p) {
  double sum = 0;
  for (double l : log_p) sum -= std::isinf(l) ? 0 : std::exp(l) * l;
  return sum;
}

// Jensen-Shannon divergence of distributions with equal weights.
inline double divergence(const std::vector<std::vector<double>>& log_p) {
  double sum = 0;
  for (size_t i = 0; i < log_p[0].size(); i++) {
    double mean = 0;
    for (const auto& line : log_p) mean += std::exp(line[i]) / log_p.size();
    for (const auto& line : log_p)
      if (std::exp(line[i]) > 0) sum += std::exp(line[i]) * (line[i] - std::log(mean)) / log_p.size();
  }
  return std::max(sum, 0.0);
}

// The first unusable logit of a query: stream and token.
inline std::pair<int, int> unusable(const StepCase& c, int64_t q) {
  for (int s = 0; s < c.S; s++) {
    bool finite = false;
    for (int64_t i = 0; i < c.V; i++) {
      const float x = c.line(q, s)[i];
      if (std::isnan(x) || x == INFINITY) return {s, static_cast<int>(i)};
      finite = finite || std::isfinite(x);
    }
    if (!finite) return {s, -1};
  }
  return {-1, -1};
}

inline void expect_query(const StepCase& c, int64_t q, StepExpected& out) {
  const int64_t S = c.S, V = c.V, width = sda::step_stats_width(S, c.kinds.details);
  double* const stats = &out.stats[q * width];
  double* const y = &out.log_probs[q * V];
  const float* numbers = c.numbers_of(q);
  const auto [stream, token] = unusable(c, q);
  stats[sda::kBadStream] = stream, stats[sda::kBadToken] = token;
  if (stream >= 0) return;

  std::vector<std::vector<double>> logs(S);
  for (int64_t s = 0; s < S; s++) {
    stats[sda::kLogZ + s] = log_sum_exp(c.line(q, s), V);
    for (int64_t i = 0; i < V; i++) logs[s].push_back(c.line(q, s)[i] - stats[sda::kLogZ + s]);
  }
  const double js = divergence({logs[c.kinds.pair[0]], logs[c.kinds.pair[1]]});
  std::vector<double> weights(S, 0.0);
  for (int64_t s = 0; s < S; s++)
    if (s != c.kinds.anchor)
      weights[s] = numbers[sda::kStepNumbers + s] *
                   (c.kinds.js_weights ? std::max<double>(js, numbers[sda::kWeightFloor]) : 1.0);

  const std::vector<double>&anchor = logs[c.kinds.anchor], &mask = logs[c.kinds.mask_stream];
  const double likeliest = *std::max_element(mask.begin(), mask.end());
  std::vector<double> score(V), size(V);
  double kept = 0, most = -INFINITY, size_of_most = 0;
  for (int64_t i = 0; i < V; i++) {
    score[i] = numbers[sda::kTotal] * anchor[i];
    size[i] = std::fabs(score[i]);
    for (int64_t s = 0; s < S; s++) {
      if (weights[s] == 0) continue;
      const double floor = weights[s] < 0 ? -1e4 : numbers[sda::kPositiveFloor];
      const double pull = weights[s] * (std::max(logs[s][i], floor) - anchor[i]);
      score[i] += pull;
      size[i] += std::fabs(pull);
    }
    bool keeps = true;
    if (c.kinds.mask == sda::Mask::kLeast) keeps = c.line(q, c.kinds.mask_stream)[i] >= c.least[q];
    if (c.kinds.mask == sda::Mask::kPlausible && numbers[sda::kAlpha] > 0)
      keeps = mask[i] >= likeliest + std::log(numbers[sda::kAlpha]);
    if (keeps) kept += std::exp(mask[i]);
    if (!keeps || std::isinf(anchor[i])) score[i] = -INFINITY;
    if (score[i] > most) most = score[i], size_of_most = size[i];
  }
  if (std::isinf(most)) {
    std::fill(stats, stats + width, 0.0);
    stats[sda::kBadStream] = static_cast<double>(S), stats[sda::kBadToken] = -1;
    return;
  }
  double sum = 0;
  for (double v : score) sum += std::exp(v - most);
  std::vector<double> plain(V);
  for (int64_t i = 0; i < V; i++) plain[i] = score[i] - most - std::log(sum);
  const double t0 = numbers[sda::kT0], h = entropy(plain);
  double t = t0;
  if (c.kinds.temperature == sda::Temperature::kDivergence)
    t = std::max<double>(numbers[sda::kTMin], t0 * std::pow(0.5, js / numbers[sda::kSigma]));
  if (c.kinds.temperature == sda::Temperature::kEntropy) {
    const double theta = numbers[sda::kTheta], log_base = std::log(numbers[sda::kEntropyBase]);
    t = std::max<double>(numbers[sda::kTMin], t0 * std::exp(log_base * theta / h));
    // dH = - sum of P (log P + H) d(score), and d(log T) = - theta log(N) / H^2 dH
    double dh = 0;
    for (int64_t i = 0; i < V; i++)
      if (std::isfinite(plain[i])) dh += std::exp(plain[i]) * std::fabs(plain[i] + h) * size[i] * kRounding;
    if (t > numbers[sda::kTMin]) out.t_rounding[q] = std::fabs(theta * log_base) / (h * h) * dh;
  }
  t = std::max(t, 1e-6);
  sum = 0;
  for (double v : score) sum += std::exp((v - most) / t);
  for (int64_t i = 0; i < V; i++) {
    y[i] = (score[i] - most) / t - std::log(sum);
    const bool two = S <= 2 && numbers[sda::kTotal] == 1;
    out.rounding[q * V + i] = (two ? std::fabs(most) : size[i] + size_of_most) * kRounding / t;
    if (std::isfinite(y[i])) out.rounding[q * V + i] += (most - score[i]) / t * out.t_rounding[q];
  }
  stats[sda::kJs] = js, stats[sda::kTemperature] = t;
  if (!c.kinds.details) return;
  double* const details = stats + sda::step_details(S);
  details[sda::kScoreEntropy] = h;
  details[sda::kGeneralJs] = divergence(logs);
  details[sda::kKeptMass] = kept;
  double rest = numbers[sda::kTotal];
  for (int64_t s = 0; s < S; s++) {
    details[sda::kEntropies + s] = entropy(logs[s]);
    details[sda::kEntropies + S + s] = weights[s];
    rest -= weights[s];
  }
  details[sda::kEntropies + S + c.kinds.anchor] = rest;
}

inline StepExpected by_the_equations(const StepCase& c) {
  StepExpected out;
  out.log_probs.resize(c.B * c.V);
  out.rounding.resize(c.B * c.V);
  out.t_rounding.resize(c.B);
  out.stats.resize(c.B * sda::step_stats_width(c.S, c.kinds.details));
  for (int64_t q = 0; q < c.B; q++) expect_query(c, q, out);
  return out;
}

}  // namespace check
