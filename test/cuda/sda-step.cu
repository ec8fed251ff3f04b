// Checks of kernels/sda-step/cuda.cu against the golden float64 results and against float64 arithmetic here.

#include "../../kernels/sda-step/cuda.h"

#include "check.h"

namespace check {
namespace {

struct Case {
  std::string name;
  sda::StepSettings settings;
  int64_t B, S, V;
  std::vector<float> logits, strength;
};

struct Expected {
  std::vector<double> log_probs;  // [B, V]
  std::vector<double> js, temperature;
  std::vector<double> steered;  // the largest of eq 5, whose float32 rounding T magnifies
  std::vector<int> bad_stream, bad_token;
};

double log_sum_exp(const float* x, int64_t V) {
  double most = -INFINITY, sum = 0;
  for (int64_t i = 0; i < V; i++) most = std::max(most, static_cast<double>(x[i]));
  for (int64_t i = 0; i < V; i++) sum += std::exp(x[i] - most);
  return most + std::log(sum);
}

// Eqs 4-8 in float64, as they are written.
Expected by_the_equations(const Case& c) {
  Expected out;
  for (int64_t q = 0; q < c.B; q++) {
    const float* x[2] = {&c.logits[q * c.S * c.V], &c.logits[((q + 1) * c.S - 1) * c.V]};
    int stream = -1, token = -1;
    for (int s = 0; s < c.S && stream < 0; s++) {
      bool finite = false;
      for (int64_t i = 0; i < c.V && stream < 0; i++) {
        if (std::isnan(x[s][i]) || x[s][i] == INFINITY) stream = s, token = static_cast<int>(i);
        finite = finite || std::isfinite(x[s][i]);
      }
      if (stream < 0 && !finite) stream = s;
    }
    out.bad_stream.push_back(stream);
    out.bad_token.push_back(token);
    std::vector<double> y(c.V, 0.0);
    double js = 0, temperature = 0, most = -INFINITY;
    if (stream < 0) {
      const double z[2] = {log_sum_exp(x[0], c.V), log_sum_exp(x[1], c.V)};
      double likeliest = -INFINITY;
      for (int64_t i = 0; i < c.V; i++) likeliest = std::max(likeliest, x[1][i] - z[1]);
      for (int64_t i = 0; i < c.V; i++) {
        const double l1 = x[0][i] - z[0], l2 = x[1][i] - z[1];
        const double p1 = std::exp(l1), p2 = std::exp(l2), m = (p1 + p2) / 2;
        js += 0.5 * ((p1 > 0 ? p1 * std::log(p1 / m) : 0) + (p2 > 0 ? p2 * std::log(p2 / m) : 0));
        y[i] = c.settings.base ? l1
               : l2 == -INFINITY ? -INFINITY
                                 : l2 + c.strength[q] * (l2 - std::max(l1, -1e4));
        if (c.settings.plausibility > 0 && l2 < likeliest + std::log(c.settings.plausibility)) y[i] = -INFINITY;
      }
      js = std::min(std::max(js, 0.0), std::log(2.0));
      temperature = std::max<double>(c.settings.t_min, c.settings.t0 * std::pow(0.5, js / c.settings.sigma));
      double sum = 0;
      for (double v : y) most = std::max(most, v);
      for (double v : y) sum += std::exp((v - most) / temperature);
      for (double& v : y) v = (v - most) / temperature - std::log(sum);
    }
    out.js.push_back(js);
    out.steered.push_back(most);
    out.temperature.push_back(temperature);
    out.log_probs.insert(out.log_probs.end(), y.begin(), y.end());
  }
  return out;
}

void run(const Case& c, const Expected& expected) {
  Buffer<float> logits(c.logits), strength(c.strength), log_probs(c.B * c.V), stats(c.B * sda::kStats);
  Buffer<unsigned char> scratch(sda::cuda::step_scratch_bytes(c.B, c.S, c.V));
  const auto results = [&] {
    sda::cuda::step(c.settings, logits.data(), strength.data(), c.B, c.S, c.V, log_probs.data(), stats.data(),
                    scratch.data(), nullptr);
    return std::make_pair(log_probs.read(c.name), stats.read(c.name));
  };
  const auto both = results();
  expect(results() == both, c.name + ": the same again", "");
  // the last query alone, from memory that does not begin at a multiple of 16 bytes
  std::vector<float> shifted(1 + c.S * c.V, 0.0f);
  std::copy(c.logits.end() - c.S * c.V, c.logits.end(), shifted.begin() + 1);
  Buffer<float> alone(shifted), log_probs_alone(c.V), stats_alone(sda::kStats);
  sda::cuda::step(c.settings, alone.data() + 1, strength.data() + c.B - 1, 1, c.S, c.V, log_probs_alone.data(),
                  stats_alone.data(), scratch.data(), nullptr);
  expect(log_probs_alone.read(c.name) == std::vector<float>(both.first.end() - c.V, both.first.end()) &&
             stats_alone.read(c.name) == std::vector<float>(both.second.end() - sda::kStats, both.second.end()),
         c.name + ": alone as among others", "");
  scratch.read(c.name);
  const std::vector<float>&y = both.first, &out = both.second;
  double apart = 0;
  for (size_t i = 0; i < y.size(); i++) {
    const double want = expected.log_probs[i];
    if (std::isinf(want) || std::isinf(y[i])) {
      // what is masked is masked; what is very unlikely may fall to -Infinity with it
      if (!(std::isinf(y[i]) && want < -1e4)) apart = INFINITY;
      continue;
    }
    const int64_t q = static_cast<int64_t>(i) / c.V;
    const bool bad = expected.bad_stream[q] >= 0;
    const double rounding = bad ? 0 : std::fabs(expected.steered[q]) * kRounding / expected.temperature[q];
    const double beyond = std::max(0.0, std::fabs(y[i] - want) - rounding);
    apart = std::max(apart, beyond / std::max(1.0, std::fabs(want)));
  }
  expect(apart <= kLogProb, c.name + ": log P'", number(apart));
  for (int64_t q = 0; q < c.B; q++) {
    const float* row = &out[q * sda::kStats];
    expect(row[4] == expected.bad_stream[q] && row[5] == expected.bad_token[q], c.name + ": sound",
           number(row[4]) + ", " + number(row[5]));
    if (expected.bad_stream[q] >= 0) continue;
    expect(std::fabs(row[0] - expected.js[q]) <= kJs, c.name + ": JS", number(row[0] - expected.js[q]));
    const double t = row[1] / expected.temperature[q] - 1;
    expect(std::fabs(t) <= kTemperature, c.name + ": T", number(t));
  }
}

void check_case(const Case& c) {
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

Case random_case(int64_t B, int64_t S, int64_t V, sda::StepSettings settings, const std::string& name) {
  Case c = {name, settings, B, S, V, normal(S * B * V, 4.0f), normal(B, 1.0f, 1.0f)};
  return c;
}

}  // namespace

void step() {
  for (const Golden& g : golden()) {
    const int64_t V = static_cast<int64_t>(g.base.size());
    Case c = {std::string("golden ") + g.name,
              {static_cast<float>(g.t0), static_cast<float>(g.sigma), static_cast<float>(g.t_min), 0, false},
              1, 2, V, g.base, {static_cast<float>(g.k * g.a)}};
    c.logits.insert(c.logits.end(), g.instructed.begin(), g.instructed.end());
    Expected expected = by_the_equations(c);
    expect(std::fabs(expected.js[0] - g.js) < 1e-9, c.name + ": the equations here", number(expected.js[0] - g.js));
    run(c, expected);
    Buffer<float> logits(c.logits), strength(c.strength), log_probs(V), stats(sda::kStats);
    Buffer<unsigned char> scratch(sda::cuda::step_scratch_bytes(1, 2, V));
    sda::cuda::step(c.settings, logits.data(), strength.data(), 1, 2, V, log_probs.data(), stats.data(),
                    scratch.data(), nullptr);
    const std::vector<float> y = log_probs.read(c.name);
    double apart = 0;
    for (int64_t i = 0; i < V; i++) apart = std::max(apart, std::fabs(std::exp(y[i]) - g.probs[i]));
    expect(apart <= kProbability, c.name + ": P'", number(apart));
  }
  const sda::StepSettings paper = {0.6f, 0.01f, 0.2f, 0, false}, mild = {0.6f, 1.0f, 0.2f, 0, false};
  for (int64_t V : {1, 2, 7, 255, 1000, 1536, 1537, 5000, 6145}) {
    check_case(random_case(1, 2, V, mild, "V = " + std::to_string(V)));
    check_case(random_case(3, 2, V, paper, "3 queries, V = " + std::to_string(V)));
    check_case(random_case(2, 1, V, mild, "one stream, V = " + std::to_string(V)));
    check_case(random_case(2, 2, V, {0.6f, 1.0f, 0.2f, 0.1f, false}, "plausibility, V = " + std::to_string(V)));
    check_case(random_case(2, 2, V, {0.6f, 1.0f, 0.2f, 0, true}, "base, V = " + std::to_string(V)));
    check_case(random_case(1, 2, V, {0.6f, INFINITY, 0.2f, 0, false}, "no scaling, V = " + std::to_string(V)));
  }
  Case masked = random_case(1, 2, 3000, mild, "masked in one stream or both");
  for (int64_t i = 0; i < 3000; i += 3) masked.logits[i] = -INFINITY;
  for (int64_t i = 0; i < 3000; i += 4) masked.logits[3000 + i] = -INFINITY;
  check_case(masked);
  Case same = random_case(1, 2, 2500, paper, "the same streams");
  std::copy_n(same.logits.begin(), 2500, same.logits.begin() + 2500);
  Expected none = by_the_equations(same);
  none.js[0] = 0;
  none.temperature[0] = 0.6f;
  run(same, none);
  Case apart = random_case(1, 2, 100, paper, "disjoint streams");
  for (int64_t i = 0; i < 100; i++) apart.logits[i < 50 ? i : 100 + i] = -INFINITY;
  check_case(apart);
  Case shifted = random_case(1, 2, 1500, mild, "logits of 1e4");
  for (float& x : shifted.logits) x = 1e4f + std::round(4 * x) / 4;
  check_case(shifted);
  for (const auto& [name, stream, token, value] :
       std::vector<std::tuple<const char*, int, int, float>>{{"NaN in the base stream", 0, 1700, NAN},
                                                              {"+Infinity in the instructed stream", 1, 3, INFINITY}}) {
    Case bad = random_case(3, 2, 2000, mild, name);
    bad.logits[(2 * 1 + stream) * 2000 + token] = value;
    bad.logits[(2 * 1 + stream) * 2000 + token + 100] = value;
    check_case(bad);
  }
  Case empty = random_case(2, 2, 1100, mild, "nothing finite");
  std::fill_n(empty.logits.begin() + 3 * 1100, 1100, -INFINITY);
  check_case(empty);
  // more tiles than a warp combines at once
  check_case(random_case(1, 2, options.large ? 400001 : 200001, mild, "very many tokens"));
  if (!options.large) return;
  check_case(random_case(2, 2, 50257, paper, "2 queries, V = 50257"));
  for (int64_t V : {49152, 151936}) {
    for (int64_t B : {1, 8}) {
      const Case c = random_case(B, 2, V, paper, std::to_string(B) + " queries, V = " + std::to_string(V));
      check_case(c);
      Buffer<float> logits(c.logits), strength(c.strength), log_probs(B * V), stats(B * sda::kStats);
      Buffer<unsigned char> scratch(sda::cuda::step_scratch_bytes(B, 2, V));
      report("sda-step, " + c.name, time_of([&] {
               sda::cuda::step(c.settings, logits.data(), strength.data(), B, 2, V, log_probs.data(),
                               stats.data(), scratch.data(), nullptr);
             }),
             12.0 * B * V);
    }
  }
}

}  // namespace check
