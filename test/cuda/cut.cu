// Checks of kernels/cut/cuda.cu against a sort of the vocabulary in float64.

#include "../../kernels/cut/cuda.h"

#include <algorithm>

#include "check.h"

namespace check {
namespace {

struct Setting {
  float top_k, top_p, temperature;
};

// The least logit that is kept; `loose` widens (+1) or narrows (-1) top-p by its tolerance.
float least_of(std::vector<float> line, const Setting& cut, double loose) {
  const size_t V = line.size();
  line.erase(std::remove(line.begin(), line.end(), -INFINITY), line.end());
  const bool counts = cut.top_k >= 1 && cut.top_k < static_cast<float>(V);
  if ((!counts && cut.top_p >= 1) || line.empty()) return -INFINITY;
  std::sort(line.begin(), line.end(), std::greater<float>());
  if (counts && cut.top_k < static_cast<float>(line.size())) line.resize(static_cast<size_t>(cut.top_k));
  if (cut.top_p >= 1) return line.back();
  const auto mass = [&](float x) { return std::exp((static_cast<double>(x) - line[0]) / cut.temperature); };
  double whole = 0, sum = 0;
  for (float x : line) whole += mass(x);
  for (float x : line)
    if ((sum += mass(x)) >= (cut.top_p + loose * kCumulative) * whole) return x;
  return line.back();
}

// Streams 0 and 1 of each query; the second is cut.
void check_cut(const std::string& name, const std::vector<float>& line, const Setting& cut) {
  if (skipped()) return;
  constexpr int64_t B = 3, S = 2;
  const int64_t V = static_cast<int64_t>(line.size());
  std::vector<float> all(1), settings;
  for (int64_t q = 0; q < B; q++) {
    const std::vector<float> other = normal(V, 9.0f);
    all.insert(all.end(), other.begin(), other.end());
    all.insert(all.end(), line.begin(), line.end());
    const Setting mine = q == 1 ? Setting{0, 0.5f, 1} : cut;
    settings.insert(settings.end(), {mine.top_k, mine.top_p, mine.temperature});
  }
  for (int64_t shift : {0, 1}) {
    Buffer<float> logits(std::vector<float>(all.begin() + 1 - shift, all.end())), numbers(settings), least(B);
    sda::cuda::cut(logits.data() + shift + V, numbers.data(), B, S * V, V, least.data(), nullptr);
    const std::vector<float> found = least.read(name);
    expect(found[0] == found[2], name + ": alone as among others", "");
    for (int64_t q : {0, 1}) {
      const Setting mine = {settings[3 * q], settings[3 * q + 1], settings[3 * q + 2]};
      const bool cuts = std::isfinite(found[q]);
      const bool right = found[q] >= least_of(line, mine, 1) && found[q] <= least_of(line, mine, -1) &&
                         (!cuts || std::find(line.begin(), line.end(), found[q]) != line.end());
      expect(right, name, number(found[q]) + ", " + number(least_of(line, mine, 0)));
    }
  }
}

}  // namespace

void cut() {
  const std::vector<std::pair<const char*, Setting>> settings = {
      {"nothing cut", {0, 1, 1}},       {"top-p 0.9", {0, 0.9f, 1}},           {"top-p 0", {0, 0, 1}},
      {"top-p 0.8, T 0.5", {0, 0.8f, 0.5f}}, {"top-p 0.99, T 3", {0, 0.99f, 3}}, {"top-k 1", {1, 1, 1}},
      {"top-k 40", {40, 1, 1}},         {"top-k 50, top-p 0.9", {50, 0.9f, 1}}};
  std::vector<int64_t> sizes = {1, 2, 7, 1025, 4100};
  if (options.large) sizes.insert(sizes.end(), {50257, 151936});
  for (const auto& [what, cut] : settings) {
    const auto named = [&, text = std::string(what)](const std::string& shape) { return "cut, " + text + ", " + shape; };
    for (int64_t V : sizes) check_cut(named("V = " + std::to_string(V)), normal(V, 3.0f), cut);
    std::vector<float> ties = normal(2000, 2.0f);
    for (float& x : ties) x = std::round(x);
    check_cut(named("ties"), ties, cut);
    check_cut(named("all equal"), std::vector<float>(3000, -7.5f), cut);
    std::vector<float> half = normal(1100, 2.0f, 1e4f);
    for (size_t i = 0; i < half.size(); i += 2) half[i] = -INFINITY;
    check_cut(named("half impossible"), half, cut);
    std::vector<float> one(1300, -INFINITY);
    one[1234] = -3.0f;
    check_cut(named("one possible token"), one, cut);
    check_cut(named("none possible"), std::vector<float>(100, -INFINITY), cut);
  }
  if (!options.large) return;
  constexpr int64_t kLarge = 151936;
  for (int64_t B : {1, 8}) {
    Buffer<float> logits(normal(B * kLarge, 3.0f)), least(B), numbers([&] {
      std::vector<float> lines;
      for (int64_t q = 0; q < B; q++) lines.insert(lines.end(), {0, 0.9f, 1});
      return lines;
    }());
    report("cut, top-p 0.9, " + std::to_string(B) + " queries, V = 151936", time_of([&] {
             sda::cuda::cut(logits.data(), numbers.data(), B, kLarge, kLarge, least.data(), nullptr);
           }),
           4.0 * B * kLarge);
  }
}

}  // namespace check
