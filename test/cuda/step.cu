// Checks of kernels/step/cuda.cu against the golden float64 results of SDA and against float64 arithmetic.

#include "step_oracle.h"

namespace check {
namespace {

using Found = std::pair<std::vector<float>, std::vector<float>>;  // log_probs, stats

// The queries from `first` on, from memory that begins `shift` floats into a buffer.
Found step_of(const StepCase& c, int64_t first = 0, int64_t shift = 0) {
  const int64_t B = c.B - first, width = sda::step_stats_width(c.S, c.kinds.details);
  std::vector<float> moved(shift, 0.0f);
  moved.insert(moved.end(), c.logits.begin() + first * c.S * c.V, c.logits.end());
  Buffer<float> logits(moved), numbers(c.numbers), least(c.least), log_probs(B * c.V), stats(B * width);
  Buffer<unsigned char> scratch(sda::cuda::step_scratch_bytes(B, c.S, c.V, c.kinds.details));
  sda::cuda::step(c.kinds, logits.data() + shift, numbers.data() + first * sda::step_numbers_width(c.S),
                  c.least.empty() ? nullptr : least.data() + first, B, c.S, c.V, log_probs.data(), stats.data(),
                  scratch.data(), nullptr);
  Found found = {log_probs.read(c.name), stats.read(c.name)};
  scratch.read(c.name);
  return found;
}

void check_log_probs(const StepCase& c, const StepExpected& expected, const std::vector<float>& y) {
  double apart = 0;
  for (size_t i = 0; i < y.size(); i++) {
    const double want = expected.log_probs[i];
    if (std::isinf(want) || std::isinf(y[i])) {
      // what is masked is masked; what is very unlikely may fall to -Infinity with it
      if (!(std::isinf(y[i]) && want < -1e4)) apart = INFINITY;
      continue;
    }
    const double beyond = std::max(0.0, std::fabs(y[i] - want) - expected.rounding[i]);
    apart = std::max(apart, beyond / std::max(1.0, std::fabs(want)));
  }
  expect(apart <= kLogProb, c.name + ": log P'", number(apart));
}

void check_stats(const StepCase& c, const StepExpected& expected, const std::vector<float>& stats) {
  const int64_t width = sda::step_stats_width(c.S, c.kinds.details);
  for (int64_t q = 0; q < c.B; q++) {
    const float* row = &stats[q * width];
    const double* want = &expected.stats[q * width];
    expect(row[sda::kBadStream] == want[sda::kBadStream] && row[sda::kBadToken] == want[sda::kBadToken],
           c.name + ": sound", number(row[sda::kBadStream]) + ", " + number(row[sda::kBadToken]));
    if (want[sda::kBadStream] >= 0) continue;
    expect(std::fabs(row[sda::kJs] - want[sda::kJs]) <= kJs, c.name + ": JS", number(row[sda::kJs] - want[sda::kJs]));
    const double t = row[sda::kTemperature] / want[sda::kTemperature] - 1;
    expect(std::fabs(t) <= kTemperature + expected.t_rounding[q], c.name + ": T", number(t));
    for (int64_t i = sda::kLogZ; i < width; i++) {
      const double d = std::fabs(row[i] - want[i]) / std::max(1.0, std::fabs(want[i]));
      expect(d <= kLogProb, c.name + ": statistic " + std::to_string(i), number(row[i]) + ", " + number(want[i]));
    }
  }
}

void run(const StepCase& c, const StepExpected& expected) {
  const Found found = step_of(c);
  expect(step_of(c) == found, c.name + ": the same again", "");
  const int64_t width = sda::step_stats_width(c.S, c.kinds.details);
  const Found alone = step_of(c, c.B - 1, 1);
  expect(alone.first == std::vector<float>(found.first.end() - c.V, found.first.end()) &&
             alone.second == std::vector<float>(found.second.end() - width, found.second.end()),
         c.name + ": alone as among others", "");
  check_log_probs(c, expected, found.first);
  check_stats(c, expected, found.second);
}

void check_case(const StepCase& c) {
  if (!skipped()) run(c, by_the_equations(c));
}

struct Golden {
  const char* name;
  std::vector<float> base, instructed;
  double k, a, t0, sigma, t_min, js, temperature;
  std::vector<double> probs;
};
const std::vector<Golden>& golden() {
  const float infinity = INFINITY;
  (void)infinity;
  static const std::vector<Golden> cases = {
#include "golden.inc"
  };
  return cases;
}

void check_golden() {
  for (const Golden& g : golden()) {
    const int64_t V = static_cast<int64_t>(g.base.size());
    StepCase c = {std::string("golden ") + g.name, sda_kinds(), 1, 2, V, g.base,
                  numbers_line(g.t0, g.sigma, g.t_min, 0, {static_cast<float>(-g.k * g.a), 0}, 1, -1e4f)};
    c.logits.insert(c.logits.end(), g.instructed.begin(), g.instructed.end());
    const StepExpected expected = by_the_equations(c);
    const double js = expected.stats[sda::kJs] - g.js;
    expect(std::fabs(js) < 1e-9, c.name + ": the equations here", number(js));
    run(c, expected);
    const std::vector<float> y = step_of(c).first;
    double apart = 0;
    for (int64_t i = 0; i < V; i++) apart = std::max(apart, std::fabs(std::exp(y[i]) - g.probs[i]));
    expect(apart <= kProbability, c.name + ": P'", number(apart));
  }
}

// SDA with strengths of all kinds.
StepCase sda_case(int64_t B, int64_t S, int64_t V, float sigma, const std::string& name, float alpha = 0, bool base = false) {
  StepCase c = {name, sda_kinds(S, alpha > 0, base), B, S, V, normal(S * B * V, 4.0f), {}};
  for (float strength : normal(B, 1.0f, 1.0f)) {
    std::vector<float> weights(S, 0.0f);
    if (S == 2 && !base) weights[0] = -strength;
    const std::vector<float> line = numbers_line(0.6f, sigma, 0.2f, alpha, weights, 1, -1e4f);
    c.numbers.insert(c.numbers.end(), line.begin(), line.end());
  }
  return c;
}

// Any rule: each query has weights of its own, some 0 and some below, and its own total.
StepCase rule_case(const sda::StepKinds& kinds, int64_t B, int64_t S, int64_t V, const std::string& name) {
  StepCase c = {name + ", S = " + std::to_string(S) + ", V = " + std::to_string(V), kinds, B, S, V,
                normal(S * B * V, 3.0f), {}};
  for (int64_t q = 0; q < B; q++) {
    std::vector<float> weights = normal(S, 0.7f);
    if (S > 2) weights[(q + 1) % S] = 0;
    const float total = q % 2 ? 1.0f : 0.5f;
    const std::vector<float> line = numbers_line(0.6f + 0.1f * q, 0.7f, 0.1f, 0.05f, weights, total);
    c.numbers.insert(c.numbers.end(), line.begin(), line.end());
    c.least.push_back(c.line(q, kinds.mask_stream)[V / 2]);
  }
  return c;
}

void check_rules() {
  using sda::Mask;
  using sda::Temperature;
  for (int64_t S : {1, 2, 3, 5, 8}) {
    const int last = static_cast<int>(S) - 1, middle = last / 2;
    for (int64_t V : {1, 7, 1000, 3100}) {
      check_case(rule_case({0, {0, last}, false, Mask::kNone, 0, Temperature::kFixed, false}, 3, S, V, "fixed"));
      check_case(rule_case({middle, {last, 0}, true, Mask::kPlausible, last, Temperature::kDivergence, true}, 3, S, V,
                           "JS weights, plausible, divergence, details"));
      check_case(rule_case({last, {0, middle}, false, Mask::kLeast, middle, Temperature::kEntropy, true}, 3, S, V,
                           "least, entropy, details"));
      StepCase holes = rule_case({middle, {0, last}, true, Mask::kLeast, 0, Temperature::kEntropy, false}, 2, S, V,
                                 "-Infinity in all streams");
      for (size_t i = 0; i < holes.logits.size(); i++)
        if (i % V != static_cast<size_t>(V / 2) && i % 5 == 0) holes.logits[i] = -INFINITY;
      check_case(holes);
    }
  }
  StepCase nothing = rule_case({0, {0, 1}, false, Mask::kLeast, 1, Temperature::kFixed, true}, 2, 3, 1700, "a mask of all");
  nothing.least[1] = INFINITY;
  check_case(nothing);
  StepCase bad = rule_case({0, {0, 1}, true, Mask::kNone, 1, Temperature::kEntropy, true}, 3, 8, 1700, "NaN in stream 6");
  bad.logits[(8 + 6) * 1700 + 1650] = NAN;
  check_case(bad);
}

void check_sda() {
  for (int64_t V : {1, 2, 7, 255, 1000, 1536, 1537, 5000, 6145}) {
    const std::string size = ", V = " + std::to_string(V);
    check_case(sda_case(1, 2, V, 1.0f, "SDA" + size));
    check_case(sda_case(3, 2, V, 0.01f, "3 queries" + size));
    check_case(sda_case(2, 1, V, 1.0f, "one stream" + size));
    check_case(sda_case(2, 2, V, 1.0f, "plausibility" + size, 0.1f));
    check_case(sda_case(2, 2, V, 1.0f, "base" + size, 0, true));
    check_case(sda_case(1, 2, V, INFINITY, "no scaling" + size));
  }
  StepCase masked = sda_case(1, 2, 3000, 1.0f, "masked in one stream or both");
  for (int64_t i = 0; i < 3000; i += 3) masked.logits[i] = -INFINITY;
  for (int64_t i = 0; i < 3000; i += 4) masked.logits[3000 + i] = -INFINITY;
  check_case(masked);
  StepCase same = sda_case(1, 2, 2500, 0.01f, "the same streams");
  std::copy_n(same.logits.begin(), 2500, same.logits.begin() + 2500);
  StepExpected none = by_the_equations(same);
  none.stats[sda::kJs] = 0;
  none.stats[sda::kTemperature] = 0.6f;
  run(same, none);
  StepCase apart = sda_case(1, 2, 100, 0.01f, "disjoint streams");
  for (int64_t i = 0; i < 100; i++) apart.logits[i < 50 ? i : 100 + i] = -INFINITY;
  check_case(apart);
  StepCase shifted = sda_case(1, 2, 1500, 1.0f, "logits of 1e4");
  for (float& x : shifted.logits) x = 1e4f + std::round(4 * x) / 4;
  check_case(shifted);
  for (const auto& [name, stream, token, value] :
       std::vector<std::tuple<const char*, int, int, float>>{{"NaN in the base stream", 0, 1700, NAN},
                                                              {"+Infinity in the instructed stream", 1, 3, INFINITY}}) {
    StepCase bad = sda_case(3, 2, 2000, 1.0f, name);
    bad.logits[(2 * 1 + stream) * 2000 + token] = value;
    bad.logits[(2 * 1 + stream) * 2000 + token + 100] = value;
    check_case(bad);
  }
  StepCase empty = sda_case(2, 2, 1100, 1.0f, "nothing finite");
  std::fill_n(empty.logits.begin() + 3 * 1100, 1100, -INFINITY);
  check_case(empty);
  // more tiles than a warp combines at once
  check_case(sda_case(1, 2, options.large ? 400001 : 200001, 1.0f, "very many tokens"));
}

void time_step(const StepCase& c, const std::string& name) {
  Buffer<float> logits(c.logits), numbers(c.numbers), log_probs(c.B * c.V),
      stats(c.B * sda::step_stats_width(c.S, c.kinds.details));
  Buffer<unsigned char> scratch(sda::cuda::step_scratch_bytes(c.B, c.S, c.V, c.kinds.details));
  report(name, time_of([&] {
           sda::cuda::step(c.kinds, logits.data(), numbers.data(), nullptr, c.B, c.S, c.V, log_probs.data(),
                           stats.data(), scratch.data(), nullptr);
         }),
         4.0 * (c.S + 1) * c.B * c.V);
}

}  // namespace

void step() {
  check_golden();
  check_sda();
  check_rules();
  if (!options.large) return;
  check_case(sda_case(2, 2, 50257, 0.01f, "2 queries, V = 50257"));
  for (int64_t V : {49152, 151936}) {
    for (int64_t B : {1, 8}) {
      const StepCase c = sda_case(B, 2, V, 0.01f, std::to_string(B) + " queries, V = " + std::to_string(V));
      check_case(c);
      time_step(c, "step, " + c.name);
    }
  }
  const sda::StepKinds plain = {0, {0, 1}, false, sda::Mask::kNone, 0, sda::Temperature::kFixed, false};
  for (int64_t S : {3, 8}) {
    const StepCase c = rule_case(plain, 1, S, 151936, "1 query");
    check_case(c);
    time_step(c, "step, " + c.name);
  }
}

}  // namespace check
