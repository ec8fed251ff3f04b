// Checks of kernels/sample/cuda.cu against a sort of the vocabulary in float64.

#include "../../kernels/sample/cuda.h"
#include "../../kernels/sda-step/cuda.h"

#include <algorithm>
#include <numeric>

#include "check.h"

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

struct Draw {
  std::vector<double> edges;  // cumulative masses by id, as shares of the whole; kept tokens alone
  std::vector<int64_t> ids;
};

// What the cuts keep, in order of ids. `loose` widens (+1) or narrows (-1) every cut by its tolerance.
Draw kept(const std::vector<float>& line, const sda::SampleSettings& cuts, double loose) {
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

// Some queries, each with the line turned by a few tokens, drawn from twice.
void check_draws(const std::string& name, const std::vector<float>& line, const sda::SampleSettings& cuts,
                 int64_t B = 3) {
  if (skipped()) return;
  const int64_t V = static_cast<int64_t>(line.size());
  std::vector<float> u = {0.0f, 0.9999999f};
  while (static_cast<int64_t>(u.size()) < B) u.push_back(std::generate_canonical<float, 20>(dice()));
  std::vector<std::vector<float>> lines;
  std::vector<float> all, raw = normal(2 * B * V, 2.0f);
  for (int64_t q = 0; q < B; q++) {
    lines.push_back(line);
    std::rotate(lines[q].begin(), lines[q].begin() + 5 * q % V, lines[q].end());
    all.insert(all.end(), lines[q].begin(), lines[q].end());
  }
  std::vector<float> stat = {0.25f, 0.5f, 1.5f, 2.5f, -1, -1}, stats;
  for (int64_t q = 0; q < B; q++) stats.insert(stats.end(), stat.begin(), stat.end());
  Buffer<float> log_probs(all), logits(raw), statistics(stats), uniforms(u), draw(B * 8);
  Buffer<unsigned char> scratch(sda::cuda::sample_scratch_bytes(B, V));
  const auto drawn = [&] {
    sda::cuda::sample(cuts, log_probs.data(), logits.data(), statistics.data(), uniforms.data(), B, 2, V,
                      draw.data(), scratch.data(), nullptr);
    return draw.read(name);
  };
  const std::vector<float> out = drawn();
  expect(drawn() == out, name + ": the same again", "");
  // the last query alone, from memory that does not begin at a multiple of 16 bytes
  std::vector<float> shifted(1 + V, 0.0f);
  std::copy(lines[B - 1].begin(), lines[B - 1].end(), shifted.begin() + 1);
  Buffer<float> alone(shifted), one(8);
  sda::cuda::sample(cuts, alone.data() + 1, logits.data() + 2 * (B - 1) * V, statistics.data() + 6 * (B - 1),
                    uniforms.data() + B - 1, 1, 2, V, one.data(), scratch.data(), nullptr);
  expect(one.read(name) == std::vector<float>(out.end() - 8, out.end()), name + ": alone as among others", "");
  scratch.read(name);
  for (int64_t q = 0; q < B; q++) {
    const std::vector<float>& mine = lines[q];
    const float* row = &out[q * 8];
    const int64_t id = static_cast<int64_t>(row[0]);
    const bool right = cuts.greedy ? id == std::max_element(mine.begin(), mine.end()) - mine.begin()
                                   : plausible(kept(mine, cuts, 0), id, u[q]) ||
                                         plausible(kept(mine, cuts, 1), id, u[q]) ||
                                         plausible(kept(mine, cuts, -1), id, u[q]);
    expect(right, name + ", u = " + number(u[q]), "id " + std::to_string(id));
    const bool told = id >= 0 && id < V && row[1] == mine[id] && row[2] == raw[2 * q * V + id] - 1.5f &&
                      row[3] == raw[(2 * q + 1) * V + id] - 2.5f && row[4] == 0.25f && row[5] == 0.5f &&
                      row[6] == -1 && row[7] == -1;
    expect(told, name + ": the row", number(row[1]) + ", " + number(row[2]));
  }
}

}  // namespace

void sample() {
  using Cuts = sda::SampleSettings;
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
      Buffer<float> strength(std::vector<float>(B, 0.4f)), log_probs(B * V), stats(6 * B),
          uniforms(std::vector<float>(B, 0.3f)), draw(8 * B);
      Buffer<unsigned char> step_scratch(sda::cuda::step_scratch_bytes(B, 2, V)),
          scratch(sda::cuda::sample_scratch_bytes(B, V));
      const auto step = [&](Buffer<float>& logits) {
        sda::cuda::step({0.6f, 0.01f, 0.2f, 0, false}, logits.data(), strength.data(), B, 2, V, log_probs.data(),
                        stats.data(), step_scratch.data(), nullptr);
      };
      const auto draws = [&](Buffer<float>& logits, const Cuts& cuts) {
        sda::cuda::sample(cuts, log_probs.data(), logits.data(), stats.data(), uniforms.data(), B, 2, V, draw.data(),
                          scratch.data(), nullptr);
      };
      const std::string shape = ", " + std::to_string(B) + " queries, V = " + std::to_string(V);
      const Cuts exact = {0, 0.95f, 0, false};
      report("step and sample" + shape, time_of([&] { step(random), draws(random, exact); }), 12.0 * B * V);
      step(random);
      report("sample, top-p 0.95" + shape, time_of([&] { draws(random, exact); }), 4.0 * B * V);
      if (V < kLarge) continue;
      report("sample, top-k 50, top-p 0.9" + shape, time_of([&] { draws(random, {50, 0.9f, 0, false}); }), 4.0 * B * V);
      report("sample, greedy" + shape, time_of([&] { draws(random, {0, 1, 0, true}); }), 4.0 * B * V);
      step(equal);
      report("sample, top-p 0.95, all equal" + shape, time_of([&] { draws(equal, exact); }), 4.0 * B * V);
    }
  }
}

}  // namespace check
