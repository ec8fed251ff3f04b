// All launches of a decoding step in a row, from the token drawn before to the next one, with nothing from the host in
// between: two streams of one query. On a device it is timed at the sizes of Qwen2.5-1.5B against the bytes of its
// weights and cache.

#include <deque>

#include "../../kernels/decoder-layer/cuda.h"
#include "../../kernels/embed/cuda.h"
#include "../../kernels/sample/cuda.h"
#include "../../kernels/sda-step/cuda.h"
#include "linear.h"

namespace check {
namespace {

using sda::cuda::Weights;

struct Sizes {
  int64_t layers, H, G, D, K, I, V, capacity;
};

struct Model {
  Sizes sizes;
  bool random;  // else whatever values the memory has: enough for a timing
  std::deque<HostWeights> drawn;
  std::deque<Buffer<uint16_t>> matrices;
  std::deque<Buffer<float>> floats;
  Weights table, head;
  std::vector<sda::cuda::Layer> layers;
  std::vector<std::pair<float*, float*>> caches;
  Buffer<int32_t> rows{std::vector<int32_t>{0, 1}};
  const float* norm;
  float* rotation;

  Model(const Sizes& s, bool random_) : sizes(s), random(random_) {
    table = head = matrix(s.V, s.K);
    norm = vector(s.K);
    rotation = vector(s.capacity * s.D);
    for (int64_t i = 0; i < s.layers; i++) {
      const Weights qkv = matrix((s.H + 2 * s.G) * s.D, s.K), o = matrix(s.K, s.H * s.D);
      const Weights gate_up = matrix(2 * s.I, s.K), down = matrix(s.K, s.I);
      layers.push_back({s.H, s.G, s.D, s.K, s.I, 0, 1e-6f, vector(s.K), vector(s.K), qkv, o, gate_up, down,
                        vector(qkv.N), nullptr, nullptr, nullptr, nullptr, nullptr});
      const int64_t cache = 2 * s.G * s.capacity * s.D;
      caches.push_back({vector(cache), vector(cache)});
    }
  }

  Weights matrix(int64_t N, int64_t K) {
    constexpr auto kType = sda::cuda::WeightType::kBfloat16;
    if (random) return drawn.emplace_back(N, K, kType).on_device();
    return {matrices.emplace_back(static_cast<size_t>(N * K)).data(), kType, N, K};
  }
  float* vector(int64_t n) {
    floats.emplace_back(normal(n, 0.5f));
    return floats.back().data();
  }
  double bytes(int64_t past) const {  // of a step
    double sum = 0;
    for (const auto& each : matrices) sum += 2.0 * each.size();
    return sum + 8.0 * 2 * sizes.layers * sizes.G * sizes.D * (past + 1);
  }
};

// What a step needs beside the model.
struct Stepper {
  Model& model;
  Buffer<float> x, y, logits, strength{std::vector<float>{0.4f}}, log_probs, stats{size_t{6}};
  Buffer<unsigned char> step_scratch, sample_scratch;

  explicit Stepper(Model& m)
      : model(m), x(2 * m.sizes.K), y(2 * m.sizes.K), logits(2 * m.sizes.V), log_probs(m.sizes.V),
        step_scratch(sda::cuda::step_scratch_bytes(1, 2, m.sizes.V)),
        sample_scratch(sda::cuda::sample_scratch_bytes(1, m.sizes.V)) {}

  // ids: the two tokens, below 0 for the one that `drawn` begins with; they stand at `position`. `given` takes the
  // place of the model's logits where it is there.
  void run(const int32_t* ids, const float* drawn, const int32_t* position, int64_t longest, float* uniform,
           float* draw, unsigned char* scratch, const float* given) {
    const Sizes& s = model.sizes;
    sda::cuda::embed(model.table, ids, drawn, sda::kDrawWidth, 2, x.data(), nullptr);
    float *from = x.data(), *to = y.data();
    for (int64_t i = 0; i < s.layers; i++) {
      sda::cuda::decoder_layer(model.layers[i], tokens(i, position, longest), from, to, scratch, nullptr);
      std::swap(from, to);
    }
    sda::cuda::linear(model.head, {from, 2, model.norm, 1e-6f}, nullptr, nullptr, logits.data(), nullptr, nullptr);
    const float* seen = given ? given : logits.data();
    sda::cuda::step({0.6f, 0.01f, 0.2f, 0, false}, seen, strength.data(), 1, 2, s.V, log_probs.data(), stats.data(),
                    step_scratch.data(), nullptr);
    sda::cuda::sample({0, 0.95f, 0, false}, log_probs.data(), seen, stats.data(), uniform, 1, 2, s.V, draw,
                      sample_scratch.data(), nullptr);
  }

  sda::cuda::Tokens tokens(int64_t layer, const int32_t* position, int64_t longest) {
    const auto& [keys, values] = model.caches[layer];
    return {position, model.rows.data(), model.rotation, 2, 1, model.sizes.capacity, longest, keys, values};
  }
};

}  // namespace

void decode_step() {
  Model small({2, 4, 2, 8, 32, 40, 301, 8}, true);
  Stepper stepper(small);
  Buffer<int32_t> position(std::vector<int32_t>{3, 5}), next(std::vector<int32_t>{4, 6});
  Buffer<unsigned char> scratch(sda::cuda::layer_scratch_bytes(small.layers[0], stepper.tokens(0, nullptr, 7)));
  Buffer<float> uniform(std::vector<float>{0.7f}), first(8), fed(8), known(8);
  Buffer<int32_t> ids(std::vector<int32_t>{17, 17}), from_device(std::vector<int32_t>{~0, ~0});
  stepper.run(ids.data(), nullptr, position.data(), 6, uniform.data(), first.data(), scratch.data(), nullptr);
  const std::vector<float> drawn = first.read("decode step");
  expect(drawn[0] >= 0 && drawn[0] < 301 && drawn[6] < 0, "decode step: a token", number(drawn[0]));
  const auto follow = [&](Buffer<int32_t>& tokens, Buffer<float>& draw) {
    stepper.run(tokens.data(), first.data(), next.data(), 7, uniform.data(), draw.data(), scratch.data(), nullptr);
    return std::make_pair(draw.read("decode step"), stepper.logits.read("decode step"));
  };
  const auto on_device = follow(from_device, fed);
  Buffer<int32_t> told(std::vector<int32_t>(2, static_cast<int32_t>(drawn[0])));
  expect(on_device == follow(told, known), "decode step: the token from the device is the one from the host", "");
  if (!kOnDevice) return;

  constexpr int64_t kPast = 300;
  Model model({28, 12, 2, 128, 1536, 8960, 151936, 512}, false);
  Stepper large(model);
  Buffer<int32_t> places(std::vector<int32_t>{kPast - 40, kPast});
  const size_t bytes = sda::cuda::layer_scratch_bytes(model.layers[0], large.tokens(0, nullptr, kPast + 1));
  Buffer<unsigned char> memory(bytes);
  Buffer<float> logits(normal(2 * model.sizes.V, 3.0f));
  report("decode step, Qwen2.5-1.5B's sizes, bf16, 2 streams", time_of([&] {
           large.run(from_device.data(), first.data(), places.data(), kPast + 1, uniform.data(), fed.data(),
                     memory.data(), logits.data());
         }),
         model.bytes(kPast));
}

}  // namespace check
