// Checks of kernels/sample/cuda.cu against a sort of the vocabulary in float64.

#include "../../kernels/sample/cuda.h"

#include <algorithm>
#include <numeric>

#include "step_oracle.h"

namespace check {
namespace {

// Normalised, as the step makes them.
std::vector<float> log_probs_of(std::vector<float> x) {
  double most = -INFINITY, sum = 0;
  for (float v : x) most = std::max<double>(most, v);
  for (float v : x) sum += std::exp(v - most);
  for (float& v : x) v = static_cast<float>(v - most - std::log(sum));
  return x;
}

// The cuts of a query, in the order of its settings.
struct Cuts {
  int64_t top_k;
  float top_p, min_p;
  bool greedy;

  std::vector<float> line() const { return {static_cast<float>(top_k), top_p, min_p, greedy ? 1.0f : 0.0f}; }
};

// As sampleSettings has them.
sda::SampleKinds kinds_of(const std::vector<Cuts>& queries) {
  const auto greedy = std::count_if(queries.begin(), queries.end(), [](const Cuts& cuts) { return cuts.greedy; });
  const bool top_k = std::any_of(queries.begin(), queries.end(), [](const Cuts& cuts) { return cuts.top_k > 0; });
  return {top_k, greedy == 0                                      ? sda::Greedy::kNone
                 : greedy == static_cast<int64_t>(queries.size()) ? sda::Greedy::kAll
                                                                  : sda::Greedy::kSome};
}

struct Draw {
  std::vector<double> edges;  // cumulative masses by id, as shares of the whole; kept tokens alone
  std::vector<int64_t> ids;
};

// What the cuts keep, in order of ids. `loose` widens (+1) or narrows (-1) every cut by its tolerance.
Draw kept(const std::vector<float>& line, const Cuts& cuts, double loose) {
  std::vector<int64_t> rank(line.size());
  std::iota(rank.begin(), rank.end(), 0);
  std::stable_sort(rank.begin(), rank.end(), [&](int64_t a, int64_t b) { return line[a] > line[b]; });
  while (!rank.empty() && line[rank.back()] == -INFINITY) rank.pop_back();
  const double most = line[rank[0]];
  const auto mass = [&](int64_t id) { return std::exp(line[id] - most); };
  if (cuts.top_k > 0 && static_cast<int64_t>(rank.size()) > cuts.top_k) rank.resize(cuts.top_k);
  double whole = 0;
  for (int64_t id : rank) whole += mass(id);
  std::vector<int64_t> ids;
  double before = 0;
  for (int64_t id : rank) {
    if (!ids.empty() && cuts.top_p < 1 && before >= (cuts.top_p + loose * kCumulative) * whole) break;
    if (mass(id) < cuts.min_p * (1 - loose * kCumulative)) break;
    ids.push_back(id);
    before += mass(id);
  }
  std::sort(ids.begin(), ids.end());
  Draw draw = {{}, ids};
  double sum = 0, total = 0;
  for (int64_t id : ids) total += mass(id);
  for (int64_t id : ids) draw.edges.push_back((sum += mass(id)) / total);
  return draw;
}

// Whether a draw may be `id`: its share of the cumulative mass holds `u`, but for rounding.
bool plausible(const Draw& draw, int64_t id, double u) {
  const auto at = std::lower_bound(draw.ids.begin(), draw.ids.end(), id);
  if (at == draw.ids.end() || *at != id) return false;
  const size_t i = at - draw.ids.begin();
  const double from = i == 0 ? 0 : draw.edges[i - 1];
  return u >= from - kCumulative && u <= draw.edges[i] + kCumulative;
}

// Draws of S streams a query: what is drawn from, and a look at the results.
struct Draws {
  int64_t S, V, width = sda::step_stats_width(S, false);
  std::vector<std::vector<float>> lines = {};
  std::vector<Cuts> cuts = {};
  std::vector<float> u = {}, raw = {}, stats = {};

  int64_t row() const { return sda::draw_width(S, width); }

  void add(const std::vector<float>& line, const Cuts& cut, float uniform) {
    lines.push_back(line);
    cuts.push_back(cut);
    u.push_back(uniform);
    const std::vector<float> logits = normal(S * V, 2.0f);
    raw.insert(raw.end(), logits.begin(), logits.end());
    for (float v : {0.25f, 0.5f, -1.0f, -1.0f}) stats.push_back(v);
    for (int64_t s = 0; s < S; s++) stats.push_back(1.5f + s);
  }

  // Of `count` queries from `first` on, from memory that begins `shift` floats into a buffer.
  std::vector<float> drawn(const std::string& name, int64_t first, int64_t count, int64_t shift) const {
    std::vector<float> all(shift, 0.0f), settings;
    for (int64_t q = first; q < first + count; q++) {
      all.insert(all.end(), lines[q].begin(), lines[q].end());
      for (float v : cuts[q].line()) settings.push_back(v);
    }
    Buffer<float> log_probs(all), logits(raw), statistics(stats), numbers(settings), uniforms(u), draw(count * row());
    Buffer<unsigned char> scratch(sda::cuda::sample_scratch_bytes(count, V));
    const std::vector<Cuts> some(cuts.begin() + first, cuts.begin() + first + count);
    sda::cuda::sample(kinds_of(some),
                      {log_probs.data() + shift, logits.data() + first * S * V, statistics.data() + first * width,
                       numbers.data(), uniforms.data() + first, count, S, V, width},
                      draw.data(), scratch.data(), nullptr);
    const std::vector<float> out = draw.read(name);
    scratch.read(name);
    return out;
  }

  void check(const std::string& name) const {
    const int64_t B = static_cast<int64_t>(lines.size());
    const std::vector<float> out = drawn(name, 0, B, 0);
    expect(drawn(name, 0, B, 0) == out, name + ": the same again", "");
    expect(drawn(name, B - 1, 1, 1) == std::vector<float>(out.end() - row(), out.end()), name + ": alone as among others",
           "");
    for (int64_t q = 0; q < B; q++) check_row(name, q, &out[q * row()]);
  }

  void check_row(const std::string& name, int64_t q, const float* found) const {
    const std::vector<float>& line = lines[q];
    const int64_t id = static_cast<int64_t>(found[sda::kId]);
    const bool right = cuts[q].greedy ? id == std::max_element(line.begin(), line.end()) - line.begin()
                                      : plausible(kept(line, cuts[q], 0), id, u[q]) ||
                                            plausible(kept(line, cuts[q], 1), id, u[q]) ||
                                            plausible(kept(line, cuts[q], -1), id, u[q]);
    expect(right, name + ", u = " + number(u[q]), "id " + std::to_string(id));
    bool told = id >= 0 && id < V && found[sda::kLogProb] == line[id];
    for (int64_t s = 0; told && s < S; s++)
      told = found[sda::kStreams + s] == raw[(q * S + s) * V + id] - stats[q * width + sda::kLogZ + s];
    told = told && std::equal(&stats[q * width], &stats[q * width] + width, found + sda::kStreams + S);
    expect(told, name + ": the row", number(found[1]) + ", " + number(found[2]));
  }
};

float uniform_of(int64_t q) {
  return q == 0 ? 0.0f : q == 1 ? 0.9999999f : std::generate_canonical<float, 20>(dice());
}

// Some queries, each with the line turned by a few tokens, drawn from twice.
void check_draws(const std::string& name, const std::vector<float>& line, const Cuts& cuts, int64_t B = 3, int64_t S = 2) {
  if (skipped()) return;
  const int64_t V = static_cast<int64_t>(line.size());
  Draws draws = {S, V};
  for (int64_t q = 0; q < B; q++) {
    std::vector<float> turned = line;
    std::rotate(turned.begin(), turned.begin() + 5 * q % V, turned.end());
    draws.add(turned, cuts, uniform_of(q));
  }
  draws.check(name);
}

// Queries that each have other cuts.
void check_mixed(const std::vector<std::pair<const char*, Cuts>>& settings, int64_t V, int64_t S) {
  if (skipped()) return;
  Draws draws = {S, V};
  for (size_t i = 0; i < settings.size(); i++) draws.add(log_probs_of(normal(V, 3.0f)), settings[i].second, uniform_of(i + 2));
  draws.check("all kinds at once, S = " + std::to_string(S) + ", V = " + std::to_string(V));
}

}  // namespace

void sample() {
  const std::vector<std::pair<const char*, Cuts>> settings = {
      {"no cut", {0, 1, 0, false}},         {"top-p 0.95", {0, 0.95f, 0, false}},
      {"top-p 0.5", {0, 0.5f, 0, false}},   {"top-p 0", {0, 0, 0, false}},
      {"top-k 1", {1, 1, 0, false}},        {"top-k 40", {40, 1, 0, false}},
      {"top-k and top-p", {50, 0.9f, 0, false}}, {"min-p 0.1", {0, 1, 0.1f, false}},
      {"min-p 1", {0, 1, 1, false}},        {"all cuts", {200, 0.9f, 0.01f, false}},
      {"greedy", {0, 1, 0, true}},
  };
  std::vector<int64_t> sizes = {1, 7, 1025, 2500, 6144, 9001};
  if (options.large) sizes.insert(sizes.end(), {50257, 151936});
  for (const auto& [what, cuts] : settings) {
    const auto named = [&, text = std::string(what)](const std::string& shape) { return text + ", " + shape; };
    for (int64_t V : sizes)
      check_draws(named("V = " + std::to_string(V)), log_probs_of(normal(V, 3.0f)), cuts);
    std::vector<float> flat(1500, 0.0f);
    check_draws(named("all equal"), log_probs_of(flat), cuts);
    // more candidates than shared memory holds, and sums that carry from one half into the other
    check_draws(named("all equal, V = 5000"), log_probs_of(std::vector<float>(5000, 0.0f)), cuts);
    std::vector<float> two(4600, 0.0f);
    for (size_t i = 0; i < two.size(); i += 3) two[i] = 0.01f;
    check_draws(named("two values in turn"), log_probs_of(two), cuts);
    std::vector<float> near = normal(4500, 1e-3f);
    check_draws(named("nearly equal"), log_probs_of(near), cuts);
    for (int64_t V : {1500, 4403}) {
      std::vector<float> ties = normal(V, 2.0f);
      for (float& x : ties) x = std::round(x);
      check_draws(named("ties, V = " + std::to_string(V)), log_probs_of(ties), cuts);
    }
    std::vector<float> one(1300, -INFINITY);
    one[1234] = 0.0f;
    check_draws(named("one possible token"), log_probs_of(one), cuts);
    std::vector<float> half = normal(1100, 2.0f);
    for (size_t i = 0; i < half.size(); i += 2) half[i] = -INFINITY;
    check_draws(named("half masked"), log_probs_of(half), cuts);
    std::vector<float> sharp = normal(1025, 40.0f);
    check_draws(named("sharp"), log_probs_of(sharp), cuts);
  }
  // every place of the cut within a bin and between bins
  for (int64_t k = 1; k < 80; k += 2) {
    const std::vector<float> line = log_probs_of(normal(80, 1.0f));
    check_draws("top-k " + std::to_string(k) + " of 80", line, {k, 1, 0, false});
    check_draws("top-p " + std::to_string(k) + "/80", line, {0, k / 80.0f, 0, false});
  }
  // so many that a block has several tiles, and that not all are drawn at a time
  check_draws("7 queries, top-p 0.9, V = 9000", log_probs_of(normal(9000, 1.0f)), {0, 0.9f, 0, false}, 7);
  for (int64_t S : {1, 3, 8}) {
    for (int64_t V : {1, 7, 2500}) check_mixed(settings, V, S);
    check_draws("top-p 0.9, S = " + std::to_string(S), log_probs_of(normal(3000, 2.0f)), {0, 0.9f, 0, false}, 3, S);
    check_draws("greedy, S = " + std::to_string(S), log_probs_of(normal(3000, 2.0f)), {0, 1, 0, true}, 3, S);
  }
  if (!options.large) return;
  constexpr int64_t kLarge = 151936;
  for (const Cuts& cuts : {Cuts{0, 0.95f, 0, false}, Cuts{50, 0.9f, 0.01f, false}}) {
    check_draws("8 queries, V = 151936", log_probs_of(normal(kLarge, 2.0f)), cuts, 8);
    check_draws("70 queries, V = 20000", log_probs_of(normal(20000, 1.0f)), cuts, 70);
  }
  // of which the likeliest bin holds all
  check_draws("top-p 0.95, all equal, V = 151936", log_probs_of(std::vector<float>(kLarge, 0.0f)),
              {0, 0.95f, 0, false});
  Buffer<float> random(normal(2 * 8 * kLarge, 3.0f)), equal(std::vector<float>(2 * 8 * kLarge, 0.0f));
  for (int64_t V : {int64_t{49152}, kLarge}) {
    for (int64_t B : {1, 8}) {
      const int64_t width = sda::step_stats_width(2, false);
      std::vector<float> lines;
      for (int64_t q = 0; q < B; q++)
        for (float v : numbers_line(0.6f, 0.01f, 0.2f, 0, {-0.4f, 0}, 1, -1e4f)) lines.push_back(v);
      Buffer<float> numbers(lines), log_probs(B * V), stats(width * B), uniforms(std::vector<float>(B, 0.3f)),
          draw(sda::draw_width(2, width) * B);
      Buffer<unsigned char> step_scratch(sda::cuda::step_scratch_bytes(B, 2, V, false)),
          scratch(sda::cuda::sample_scratch_bytes(B, V));
      const auto step = [&](Buffer<float>& logits) {
        sda::cuda::step(sda_kinds(), logits.data(), numbers.data(), nullptr, B, 2, V, log_probs.data(), stats.data(),
                        step_scratch.data(), nullptr);
      };
      const auto time = [&](const std::string& name, Buffer<float>& logits, const Cuts& cuts, bool steps) {
        std::vector<float> each;
        for (int64_t q = 0; q < B; q++)
          for (float v : cuts.line()) each.push_back(v);
        Buffer<float> settings(each);
        step(logits);
        report(name + ", " + std::to_string(B) + " queries, V = " + std::to_string(V), time_of([&] {
                 if (steps) step(logits);
                 sda::cuda::sample(kinds_of({cuts}),
                                   {log_probs.data(), logits.data(), stats.data(), settings.data(), uniforms.data(), B, 2,
                                    V, width},
                                   draw.data(), scratch.data(), nullptr);
               }),
               (steps ? 12.0 : 4.0) * B * V);
      };
      const Cuts exact = {0, 0.95f, 0, false};
      time("step and sample", random, exact, true);
      time("sample, top-p 0.95", random, exact, false);
      if (V < kLarge) continue;
      time("sample, top-k 50, top-p 0.9", random, {50, 0.9f, 0, false}, false);
      time("sample, greedy", random, {0, 1, 0, true}, false);
      time("sample, top-p 0.95, all equal", equal, exact, false);
    }
  }
}

}  // namespace check
