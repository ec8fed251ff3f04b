// All launches of a decoding step in a row, from the token drawn before to the next one, with nothing from the host in
// between: two streams of each query. On a device it is timed at the sizes of Qwen2.5-1.5B and Llama-2-7B against the
// bytes of their weights and cache, with weights of 8 and 4 bits too.

#include <deque>
#include <numeric>

#include "../../kernels/decoder-layer/cuda.h"
#include "../../kernels/embed/cuda.h"
#include "../../kernels/sample/cuda.h"
#include "linear.h"
#include "step_oracle.h"

namespace check {
namespace {

using sda::cuda::Weights;

struct Sizes {
  const char* name;
  int64_t layers, H, G, D, K, I, V, capacity;
  bool bias, tied;
};

struct Model {
  Sizes sizes;
  Stored stored, outer;  // of linear layers, and of embedding and head, which have 8 bits at least
  int64_t R;             // rows: two of each query
  bool large;            // weights that only the device has
  std::deque<HostWeights> drawn;
  std::deque<DeviceWeights> made;
  std::deque<Buffer<float>> floats;
  Weights table, head;
  std::vector<sda::cuda::Layer> layers;
  std::vector<std::pair<float*, float*>> caches;
  const float* norm;
  float* rotation;

  Model(const Sizes& s, const Stored& stored_, int64_t rows, bool large_)
      : sizes(s), stored(stored_), outer(stored_.is_quantised() ? Stored(Quantised{8}) : stored_), R(rows), large(large_) {
    table = head = matrix(s.V, s.K, outer);
    if (!s.tied) head = matrix(s.V, s.K, outer);
    norm = vector(s.K);
    rotation = vector(s.capacity * s.D);
    for (int64_t i = 0; i < s.layers; i++) {
      const Weights qkv = matrix((s.H + 2 * s.G) * s.D, s.K, stored), o = matrix(s.K, s.H * s.D, stored);
      const Weights gate_up = matrix(2 * s.I, s.K, stored, 2), down = matrix(s.K, s.I, stored);
      layers.push_back({s.H, s.G, s.D, s.K, s.I, 0, 1e-6f, vector(s.K), vector(s.K), qkv, o, gate_up, down,
                        s.bias ? vector(qkv.N) : nullptr, nullptr, nullptr, nullptr, nullptr, nullptr});
      const int64_t cache = R * s.G * s.capacity * s.D;
      caches.push_back({vector(cache), vector(cache)});
    }
  }

  Weights matrix(int64_t N, int64_t K, const Stored& as, int64_t parts = 1) {
    if (large) return made.emplace_back(N, K, as, parts).on_device();
    return drawn.emplace_back(N, K, as).on_device(parts);
  }
  float* vector(int64_t n) {
    floats.emplace_back(static_cast<size_t>(n));
    fill(floats.back().data(), n, 0.5f);
    return floats.back().data();
  }
  double bytes(int64_t past) const {  // of a step: weights without the embedding's, and the cache
    double sum = sizes.tied ? 0 : -made.front().bytes();
    for (const auto& each : made) sum += each.bytes();
    return sum + 8.0 * R * sizes.layers * sizes.G * sizes.D * (past + 1);
  }
};

// Of two streams.
constexpr int64_t kStatsWidth = sda::step_stats_width(2, false), kDrawWidth = sda::draw_width(2, kStatsWidth);
constexpr int64_t kBad = sda::kStreams + 2 + sda::kBadStream;  // in a draw

// What a step needs beside the model.
struct Stepper {
  Model& model;
  int64_t R, B;
  Buffer<int32_t> rows;
  Buffer<float> x, y, logits, numbers, log_probs, stats, settings, uniform;
  Buffer<unsigned char> step_scratch, sample_scratch;

  static std::vector<int32_t> up_to(int64_t n) {
    std::vector<int32_t> numbers(n);
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
  }
  static std::vector<float> repeated(const std::vector<float>& line, int64_t n) {
    std::vector<float> lines;
    for (int64_t i = 0; i < n; i++) lines.insert(lines.end(), line.begin(), line.end());
    return lines;
  }
  explicit Stepper(Model& m)
      : model(m), R(m.R), B(R / 2), rows(up_to(R)), x(R * m.sizes.K), y(R * m.sizes.K), logits(R * m.sizes.V),
        numbers(repeated(numbers_line(0.6f, 0.01f, 0.2f, 0, {-0.4f, 0}, 1, -1e4f), B)), log_probs(B * m.sizes.V),
        stats(kStatsWidth * B), settings(repeated({0, 0.95f, 0, 0}, B)), uniform(std::vector<float>(B, 0.7f)),
        step_scratch(sda::cuda::step_scratch_bytes(B, 2, m.sizes.V, false)),
        sample_scratch(sda::cuda::sample_scratch_bytes(B, m.sizes.V)) {}

  // ids: a token a row, below 0 for those that `drawn` begins with; they stand at `position`. `given` takes the place of
  // the model's logits where it is there.
  void run(const int32_t* ids, const float* drawn, const int32_t* position, int64_t longest, float* draw,
           unsigned char* scratch, const float* given) {
    const Sizes& s = model.sizes;
    sda::cuda::embed(model.table, ids, drawn, kDrawWidth, R, x.data(), nullptr);
    float *from = x.data(), *to = y.data();
    for (int64_t i = 0; i < s.layers; i++) {
      sda::cuda::decoder_layer(model.layers[i], tokens(i, position, longest), from, to, scratch, nullptr);
      std::swap(from, to);
    }
    sda::cuda::linear(model.head, {from, R, model.norm, 1e-6f}, nullptr, nullptr, logits.data(), nullptr, nullptr);
    const float* seen = given ? given : logits.data();
    sda::cuda::step(sda_kinds(), seen, numbers.data(), nullptr, B, 2, s.V, log_probs.data(), stats.data(),
                    step_scratch.data(), nullptr);
    sda::cuda::sample({false, sda::Greedy::kNone},
                      {log_probs.data(), seen, stats.data(), settings.data(), uniform.data(), B, 2, s.V, kStatsWidth},
                      draw, sample_scratch.data(), nullptr);
  }

  sda::cuda::Tokens tokens(int64_t layer, const int32_t* position, int64_t longest) {
    const auto& [keys, values] = model.caches[layer];
    return {position, rows.data(), model.rotation, R, 1, model.sizes.capacity, longest, keys, values};
  }
};

void time_steps(const Sizes& sizes, int64_t R, const Stored& stored = {}) {
  constexpr int64_t kPast = 300;
  const int64_t B = R / 2;
  Model model(sizes, stored, R, true);
  const std::string type = stored.is_quantised() ? "int" + std::to_string(stored.quantised.bits) : "bf16";
  Stepper stepper(model);
  std::vector<int32_t> place, token;
  for (int64_t r = 0; r < R; r++) {
    place.push_back(static_cast<int32_t>(r % 2 ? kPast : kPast - 40));
    token.push_back(static_cast<int32_t>(~(r / 2)));
  }
  std::vector<float> before(kDrawWidth * B);
  for (int64_t q = 0; q < B; q++) before[kDrawWidth * q] = static_cast<float>(q);
  Buffer<int32_t> position(place), ids(token);
  Buffer<float> drawn(before), next(kDrawWidth * B), logits(R * sizes.V);
  fill(logits.data(), R * sizes.V, 3.0f);
  Buffer<unsigned char> scratch(sda::cuda::layer_scratch_bytes(model.layers[0], stepper.tokens(0, nullptr, kPast + 1)));
  const auto once = [&] {
    stepper.run(ids.data(), drawn.data(), position.data(), kPast + 1, next.data(), scratch.data(), logits.data());
  };
  report(std::string("decode step, ") + sizes.name + ", " + type + ", " + std::to_string(R) + " rows", time_of(once, 10),
         model.bytes(kPast));
  report(std::string("launching it on the host, ") + sizes.name + ", " + type + ", " + std::to_string(R) + " rows",
         launch_time_of(once), 0);
  const std::vector<float> out = next.read("decode step");
  bool sound = true;
  for (float v : stepper.logits.read("decode step")) sound = sound && std::isfinite(v);
  expect(sound && out[0] >= 0 && out[0] < sizes.V && out[kBad] < 0,
         std::string("decode step, ") + sizes.name + ", " + type + ", " + std::to_string(R) + " rows: finite logits, a token",
         number(out[0]));
}

void check_small(const Stored& stored) {
  const std::string name = "decode step, " + stored.name();
  Model small({"small", 2, 4, 2, 8, 32, 40, 301, 8, true, true}, stored, 2, false);
  Stepper stepper(small);
  Buffer<int32_t> position(std::vector<int32_t>{3, 5}), next(std::vector<int32_t>{4, 6});
  Buffer<unsigned char> scratch(sda::cuda::layer_scratch_bytes(small.layers[0], stepper.tokens(0, nullptr, 7)));
  Buffer<float> first(kDrawWidth), fed(kDrawWidth), known(kDrawWidth);
  Buffer<int32_t> ids(std::vector<int32_t>{17, 17}), from_device(std::vector<int32_t>{~0, ~0});
  stepper.run(ids.data(), nullptr, position.data(), 6, first.data(), scratch.data(), nullptr);
  const std::vector<float> drawn = first.read(name);
  expect(drawn[0] >= 0 && drawn[0] < 301 && drawn[kBad] < 0, name + ": a token", number(drawn[0]));
  const auto follow = [&](Buffer<int32_t>& tokens, Buffer<float>& draw) {
    stepper.run(tokens.data(), first.data(), next.data(), 7, draw.data(), scratch.data(), nullptr);
    return std::make_pair(draw.read(name), stepper.logits.read(name));
  };
  const auto on_device = follow(from_device, fed);
  Buffer<int32_t> told(std::vector<int32_t>(2, static_cast<int32_t>(drawn[0])));
  expect(on_device == follow(told, known), name + ": the token from the device is the one from the host", "");
}

void time_all() {
  const Sizes qwen = {"Qwen2.5-1.5B", 28, 12, 2, 128, 1536, 8960, 151936, 512, true, true};
  const Sizes llama = {"Llama-2-7B", 32, 32, 32, 128, 4096, 11008, 32000, 512, false, false};
  for (const Sizes& sizes : {qwen, llama}) time_steps(sizes, 2);
  for (int bits : {8, 4})
    for (const Sizes& sizes : {qwen, llama}) time_steps(sizes, 2, Quantised{bits});
  for (int64_t rows : {8, 32})
    for (const Sizes& sizes : {qwen, llama}) time_steps(sizes, rows);
}

}  // namespace

void decode_step() {
  check_small({});
  if (options.timings) time_all();
  check_small(Quantised{8});
  check_small(Quantised{4});
}

}  // namespace check
