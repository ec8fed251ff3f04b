// Checks of kernels/decoder-layer/cuda.cu against float64 arithmetic.

#include <set>

#include "../../kernels/decoder-layer/attend.h"

#include "cache.h"
#include "linear.h"

namespace check {
namespace {

using Values = std::vector<double>;

struct Shape {
  int64_t H, G, D, K, I, window;
  bool bias, head_norms;
  bool after = false, rotates = true;  // OLMo 2's norms: of what is added, and of all heads together
};

struct Batch {
  std::vector<int32_t> position, row;  // [R, T], [R]
  int64_t T, rows, capacity;

  bool row_twice() const { return std::set<int32_t>(row.begin(), row.end()).size() < row.size(); }
};

// A layer's weights, and the same on the device.
struct HostLayer {
  Shape shape;
  HostWeights qkv, o, gate_up, down;
  std::vector<float> input_norm, post_norm, query_norm, key_norm, qkv_bias, o_bias, gate_up_bias, down_bias;
  std::vector<float> attention_output_norm, mlp_output_norm;
  std::vector<std::unique_ptr<Buffer<float>>> buffers;

  HostLayer(const Shape& s, const Stored& type)
      : shape(s), qkv((s.H + 2 * s.G) * s.D, s.K, type), o(s.K, s.H * s.D, type),
        gate_up(2 * s.I, s.K, type), down(s.K, s.I, type) {
    (s.after ? attention_output_norm : input_norm) = normal(s.K, 0.3f, 1);
    (s.after ? mlp_output_norm : post_norm) = normal(s.K, 0.3f, 1);
    if (s.head_norms) query_norm = normal(s.D, 0.3f, 1), key_norm = normal(s.D, 0.3f, 1);
    if (s.after) query_norm = normal(s.H * s.D, 0.3f, 1), key_norm = normal(s.G * s.D, 0.3f, 1);
    if (s.bias) {
      qkv_bias = normal(qkv.N, 0.5f);
      o_bias = normal(o.N, 0.5f);
      gate_up_bias = normal(gate_up.N, 0.5f);
      down_bias = normal(down.N, 0.5f);
    }
  }

  const float* at(const std::vector<float>& values) {
    if (values.empty()) return nullptr;
    buffers.push_back(std::make_unique<Buffer<float>>(values));
    return buffers.back()->data();
  }

  sda::cuda::Layer on_device() {
    return {shape.H, shape.G, shape.D, shape.K, shape.I, shape.window, 1e-5f,
            at(input_norm), at(post_norm), qkv.on_device(), o.on_device(), gate_up.on_device(2), down.on_device(),
            at(qkv_bias), at(o_bias), at(query_norm), at(key_norm), at(gate_up_bias), at(down_bias),
            at(attention_output_norm), at(mlp_output_norm), shape.after, shape.rotates};
  }
};

Values product(const HostWeights& w, const double* x, const std::vector<float>& bias) {
  Values y(w.N);
  for (int64_t n = 0; n < w.N; n++) {
    double sum = bias.empty() ? 0 : bias[n];
    for (int64_t k = 0; k < w.K; k++) sum += w.values[n * w.K + k] * x[k];
    y[n] = sum;
  }
  return y;
}

// Without a norm: the K values as they are.
Values rms(const double* x, int64_t K, const std::vector<float>& norm) {
  if (norm.empty()) return Values(x, x + K);
  double squares = 0;
  for (int64_t k = 0; k < K; k++) squares += x[k] * x[k];
  Values y(K);
  for (int64_t k = 0; k < K; k++) y[k] = x[k] / std::sqrt(squares / K + 1e-5) * norm[k];
  return y;
}

// Rotary embedding in the half-split form.
void turn(double* head, const float* rotation, int64_t D) {
  for (int64_t d = 0; d < D / 2; d++) {
    const double a = head[d], b = head[d + D / 2], c = rotation[d], s = rotation[D / 2 + d];
    head[d] = a * c - b * s;
    head[d + D / 2] = b * c + a * s;
  }
}

struct Expected {
  Values y, keys, values;
};

// Attention sees `cached`, what the layer has left in the cache, where that is given: its keys and values are rounded.
Expected by_hand(const HostLayer& layer, const Batch& batch, const std::vector<float>& x,
                 const std::vector<float>& rotation, Values keys, Values values, const std::pair<Values, Values>* cached) {
  const auto& [H, G, D, K, I, window, bias, head_norms, after, rotates] = layer.shape;
  const int64_t N = static_cast<int64_t>(batch.position.size());
  std::vector<Values> projected(N);
  for (int64_t n = 0; n < N; n++) {
    if (batch.position[n] < 0) continue;
    const Values line(x.begin() + n * K, x.begin() + (n + 1) * K);
    projected[n] = product(layer.qkv, rms(line.data(), K, layer.input_norm).data(), layer.qkv_bias);
    const int64_t count = after ? H : 1, together = after ? G : 1;  // heads that a norm takes
    for (int64_t h = 0; h < H + G; h += h < H ? count : together) {
      const Values normed = rms(&projected[n][h * D], (h < H ? count : together) * D, h < H ? layer.query_norm : layer.key_norm);
      std::copy(normed.begin(), normed.end(), &projected[n][h * D]);
    }
    for (int64_t h = 0; h < H + G && rotates; h++) turn(&projected[n][h * D], &rotation[batch.position[n] * D], D);
    for (int64_t g = 0; g < G; g++) {
      const int64_t slot = ((batch.row[n / batch.T] * G + g) * batch.capacity + batch.position[n]) * D;
      std::copy_n(&projected[n][(H + g) * D], D, &keys[slot]);
      std::copy_n(&projected[n][(H + G + g) * D], D, &values[slot]);
    }
  }
  const Values &seen_keys = cached ? cached->first : keys, &seen_values = cached ? cached->second : values;
  Values out(N * K);
  for (int64_t n = 0; n < N; n++) {
    if (batch.position[n] < 0) continue;
    Values mixed(H * D);
    for (int64_t h = 0; h < H; h++) {
      const int64_t g = h / (H / G), from = ((batch.row[n / batch.T] * G + g) * batch.capacity) * D;
      const int64_t last = batch.position[n], first = window > 0 ? std::max<int64_t>(0, last - window + 1) : 0;
      Values weight;
      double most = -INFINITY, sum = 0;
      for (int64_t p = first; p <= last; p++) {
        double dot = 0;
        for (int64_t d = 0; d < D; d++) dot += projected[n][h * D + d] * seen_keys[from + p * D + d];
        weight.push_back(dot / std::sqrt(static_cast<double>(D)));
        most = std::max(most, weight.back());
      }
      for (double& w : weight) sum += w = std::exp(w - most);
      for (int64_t p = first; p <= last; p++)
        for (int64_t d = 0; d < D; d++) mixed[h * D + d] += weight[p - first] / sum * seen_values[from + p * D + d];
    }
    Values between = rms(product(layer.o, mixed.data(), layer.o_bias).data(), K, layer.attention_output_norm);
    for (int64_t k = 0; k < K; k++) between[k] += x[n * K + k];
    const Values both = product(layer.gate_up, rms(between.data(), K, layer.post_norm).data(), layer.gate_up_bias);
    Values active(I);
    for (int64_t i = 0; i < I; i++) active[i] = both[i] / (1 + std::exp(-both[i])) * both[I + i];
    const Values down = rms(product(layer.down, active.data(), layer.down_bias).data(), K, layer.mlp_output_norm);
    for (int64_t k = 0; k < K; k++) out[n * K + k] = between[k] + down[k];
  }
  return {out, keys, values};
}

// narrow: with keys and values in bfloat16.
void check_layer(const std::string& name, const Shape& shape, const Batch& batch, const Stored& type = {},
                 bool narrow = false) {
  HostLayer layer(shape, type);
  const int64_t N = static_cast<int64_t>(batch.position.size()), K = shape.K;
  const std::vector<float> x = normal(N * K, 1.0f);
  const int64_t longest = 1 + *std::max_element(batch.position.begin(), batch.position.end());
  std::vector<float> rotation(longest * shape.D);
  for (int64_t p = 0; p < longest; p++) {
    for (int64_t d = 0; d < shape.D / 2; d++) {
      const double angle = p * std::pow(1e4, -2.0 * d / shape.D);
      rotation[p * shape.D + d] = static_cast<float>(std::cos(angle));
      rotation[p * shape.D + shape.D / 2 + d] = static_cast<float>(std::sin(angle));
    }
  }
  const size_t cache = batch.rows * shape.G * batch.capacity * shape.D;
  HostCache keys(cache, narrow), values(cache, narrow);
  Buffer<float> x_at(x), rotation_at(rotation), y(N * K);
  Buffer<int32_t> position_at(batch.position), row_at(batch.row);
  const sda::cuda::Tokens tokens = {position_at.data(), row_at.data(), rotation_at.data(), N, batch.T,
                                    batch.capacity, longest, keys.data(), values.data(), batch.row_twice(), narrow};
  const sda::cuda::Layer on_device = layer.on_device();
  Buffer<unsigned char> scratch(sda::cuda::layer_scratch_bytes(on_device, tokens));
  sda::cuda::decoder_layer(on_device, tokens, x_at.data(), y.data(), scratch.data(), nullptr);
  const std::pair<Values, Values> left = {keys.read(name), values.read(name)};
  const Expected want = by_hand(layer, batch, x, rotation, keys.before, values.before, narrow ? &left : nullptr);
  std::vector<float> out = y.read(name);
  for (int64_t n = 0; n < N; n++)
    if (batch.position[n] < 0) std::fill_n(out.begin() + n * K, K, 0.0f);  // padding holds no meaning
  scratch.read(name);
  const double apart = difference(out, want.y);
  expect(apart <= kLayer, name + ": y", number(apart));
  const double cached = std::max(cache_error(left.first, keys.before, want.keys, narrow),
                                 cache_error(left.second, values.before, want.values, narrow));
  expect(cached <= kLayer, name + ": cache", number(cached));
  if (!options.timings || batch.T > 1) return;
  report("layer, " + name, time_of([&] {
           sda::cuda::decoder_layer(on_device, tokens, x_at.data(), y.data(), scratch.data(), nullptr);
         }),
         2.0 * (layer.qkv.values.size() + layer.o.values.size() + layer.gate_up.values.size() + layer.down.values.size()) +
             8.0 * N * shape.G * shape.D * longest);
}

// Values that go into a cache in bfloat16 as they are: ties, what is beyond the largest, and what is no number.
void check_rounding(int64_t T) {
  constexpr int64_t D = 8;
  const std::string name = "a cache in bfloat16, " + std::to_string(T) + " tokens: rounded to the nearest even";
  const std::vector<std::pair<uint32_t, uint16_t>> cases = {
      {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0xbf817fff, 0xbf81},
      {0x7f7fffff, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0x00018000, 0x0002}};
  std::vector<float> line(3 * D, 0.25f), projected;  // query, key, value
  for (int64_t d = 0; d < D; d++) std::memcpy(&line[2 * D + d], &cases[d].first, 4);
  std::vector<int32_t> place;
  for (int64_t t = 0; t < T; t++) {
    projected.insert(projected.end(), line.begin(), line.end());
    place.push_back(static_cast<int32_t>(t));
  }
  sda::cuda::Layer layer = {1, 1, D, 0, 0, 0, 1e-6f};
  layer.rotates = false;
  Buffer<int32_t> position(place), row(std::vector<int32_t>{0});
  Buffer<float> projected_at(projected), out(T * D);
  Buffer<uint16_t> keys(T * D), values(T * D);
  const sda::cuda::Tokens tokens = {position.data(), row.data(), nullptr, T, T, T, T, keys.data(), values.data(), false, true};
  Buffer<float> scratch(sda::cuda::attend_scratch_floats(layer, tokens));
  sda::cuda::attend(layer, tokens, projected_at.data(), scratch.data(), out.data(), nullptr);
  const std::vector<uint16_t> found = values.read(name);
  bool right = keys.read(name) == std::vector<uint16_t>(T * D, 0x3e80);
  for (int64_t i = 0; i < T * D; i++) right = right && found[i] == cases[i % D].second;
  expect(right, name, "");
}

void time_attention(const char* name, int64_t H, int64_t G, int64_t rows, int32_t position, bool narrow = false) {
  constexpr int64_t D = 128;
  const int64_t capacity = position + 1;
  const sda::cuda::Layer layer = {H, G, D, 0, 0, 0, 1e-6f};
  std::vector<int32_t> numbers(rows);
  for (int64_t r = 0; r < rows; r++) numbers[r] = static_cast<int32_t>(r);
  Buffer<int32_t> positions(std::vector<int32_t>(rows, position)), row(numbers);
  const int64_t cache = rows * G * capacity * D / (narrow ? 2 : 1);  // two to a float32
  Buffer<float> rotation(capacity * D), keys(cache), values(cache);
  Buffer<float> projected(rows * (H + 2 * G) * D), out(rows * H * D);
  for (Buffer<float>* each : {&rotation, &keys, &values, &projected}) fill(each->data(), each->size(), 1.0f);
  const sda::cuda::Tokens tokens = {positions.data(), row.data(), rotation.data(), rows, 1,
                                    capacity, position + 1, keys.data(), values.data(), false, narrow};
  Buffer<float> scratch(sda::cuda::attend_scratch_floats(layer, tokens));
  report(std::string("attention, ") + name + ", " + std::to_string(rows) + " rows, " + std::to_string(position + 1) +
             (narrow ? " positions, bf16 cache" : " positions"),
         time_of([&] {
           sda::cuda::attend(layer, tokens, projected.data(), scratch.data(), out.data(), nullptr);
         }),
         (narrow ? 4.0 : 8.0) * rows * G * D * (position + 1));
}

const Batch decode = {{5, 140, 0, 299}, {2, 0, 3, 1}, 1, 5, 320};
const Batch pair = {{17, 30}, {0, 1}, 1, 2, 64};
const Batch prompt = {{-1, -1, 0, 1, 2, 4, 5, 6, 7, 8}, {1, 0}, 5, 2, 16};

Batch long_batch() {
  Batch batch = {{}, {1, 0}, 37, 2, 200};
  for (int i = 0; i < 74; i++) batch.position.push_back(i < 37 ? 90 + i : std::max(-1, i - 39));
  return batch;
}

}  // namespace

// Activations are not rounded, as they are on the CPU.
void decoder_layer_quantised() {
  const Batch long_prompt = long_batch();
  for (const Quantised& form : {Quantised{8}, Quantised{4}, Quantised{4, sda::kFloat16Scale, sda::kWholeZeros, true}}) {
    check_layer(form.name(), {6, 2, 16, 48, 80, 0, false, false}, decode, form);
    check_layer(form.name() + ", biases, head norms, new tokens", {4, 2, 16, 40, 36, 0, true, true}, prompt, form);
    check_layer(form.name() + ", odd sizes, a cache in bfloat16", {2, 1, 10, 21, 13, 0, true, false}, pair, form, true);
    check_layer(form.name() + ", a long prompt, norms after", {6, 2, 16, 48, 80, 0, true, false, true}, long_prompt, form);
  }
}

void narrow_cache() {
  check_rounding(1);
  check_rounding(3);
}

void decoder_layer() {
  check_layer("llama, grouped heads", {6, 2, 16, 48, 80, 0, false, false}, decode);
  check_layer("one head a group", {3, 3, 8, 24, 40, 0, false, false}, decode);
  check_layer("all heads in one group", {8, 1, 16, 40, 33, 0, true, false}, decode);
  check_layer("qwen2, biases", {4, 2, 16, 32, 48, 0, true, false}, pair);
  check_layer("qwen3, head norms", {4, 2, 20, 32, 48, 0, false, true}, pair);
  check_layer("heads of 64", {6, 2, 64, 24, 16, 0, true, false}, decode);
  check_layer("heads of 128, new tokens", {3, 1, 128, 24, 16, 0, false, true}, prompt);
  check_layer("heads of 128", {2, 2, 128, 24, 16, 0, false, false}, decode);
  check_layer("a window", {4, 2, 16, 32, 48, 100, false, false}, decode);
  check_layer("a window of one", {4, 2, 16, 32, 48, 1, false, false}, pair);
  check_layer("new tokens with padding", {6, 2, 16, 48, 80, 0, true, true}, prompt);
  const Batch steps_and_prompt = {{9, 3, 2, 4, 140, 5}, {1, 0, 0, 0, 2, 0}, 1, 3, 160};
  check_layer("steps beside a prompt's tokens", {6, 2, 16, 48, 80, 0, true, true}, steps_and_prompt);
  check_layer("steps beside a prompt's tokens, a window", {4, 2, 20, 32, 48, 2, false, false}, steps_and_prompt);
  check_layer("odd sizes", {2, 1, 10, 21, 13, 0, true, false}, prompt);
  check_layer("smollm3, without rotation", {6, 2, 16, 48, 80, 0, false, false, false, false}, decode);
  check_layer("without rotation, new tokens, head norms", {6, 2, 16, 48, 80, 0, true, true, false, false}, prompt);
  check_layer("olmo2, norms after", {6, 2, 16, 48, 80, 0, false, false, true}, decode);
  check_layer("norms after, one head each", {3, 3, 8, 24, 40, 0, true, false, true}, pair);
  check_layer("norms after, new tokens, odd sizes", {2, 1, 10, 21, 13, 0, true, false, true}, prompt);
  const Batch long_prompt = long_batch();
  check_layer("a long prompt, and one with padding", {6, 2, 16, 48, 80, 0, true, true}, long_prompt);
  check_layer("a long prompt, norms after", {6, 2, 16, 48, 80, 0, true, false, true}, long_prompt);
  check_layer("a long prompt, a window", {5, 1, 12, 20, 10, 50, false, false}, long_prompt);
  check_layer("a long prompt, float32", {4, 2, 16, 32, 48, 0, true, false}, long_prompt, sda::cuda::WeightType::kFloat32);
  check_layer("float32", {4, 2, 16, 32, 48, 0, false, false}, pair, sda::cuda::WeightType::kFloat32);
  check_layer("float16", {4, 2, 16, 32, 48, 0, true, false}, pair, sda::cuda::WeightType::kFloat16);
  const Stored bfloat16;
  check_layer("a cache in bfloat16", {6, 2, 16, 48, 80, 0, false, false}, decode, bfloat16, true);
  check_layer("a cache in bfloat16, heads of 128", {2, 2, 128, 24, 16, 0, true, true}, decode, bfloat16, true);
  check_layer("a cache in bfloat16, heads of 64", {6, 2, 64, 24, 16, 0, true, false}, decode, bfloat16, true);
  check_layer("a cache in bfloat16, heads of 20", {4, 2, 20, 32, 48, 0, false, true}, pair, bfloat16, true);
  check_layer("a cache in bfloat16, heads of 10, new tokens", {2, 1, 10, 21, 13, 0, true, false}, prompt, bfloat16, true);
  check_layer("a cache in bfloat16, all heads in one group", {8, 1, 16, 40, 33, 0, true, false}, decode, bfloat16, true);
  check_layer("a cache in bfloat16, a window", {4, 2, 16, 32, 48, 100, false, false}, decode, bfloat16, true);
  check_layer("a cache in bfloat16, a long prompt", {6, 2, 16, 48, 80, 0, true, true}, long_prompt, bfloat16, true);
  check_layer("a cache in bfloat16, heads of 128, new tokens", {3, 1, 128, 24, 16, 0, false, true}, prompt, bfloat16, true);
  check_layer("a cache in bfloat16, norms after, without rotation", {6, 2, 16, 48, 80, 0, false, false, true, false}, decode,
              bfloat16, true);
  check_layer("a cache in bfloat16, steps beside a prompt's tokens", {6, 2, 16, 48, 80, 0, true, true}, steps_and_prompt,
              bfloat16, true);
  if (!options.large) return;
  for (int32_t position : {30, 300, 1040, 8000}) {
    for (bool narrow : {false, true}) {
      time_attention("Qwen2.5-1.5B", 12, 2, 2, position, narrow);
      time_attention("Llama-2-7B", 32, 32, 2, position, narrow);
    }
  }
  time_attention("Llama-2-7B", 32, 32, 32, 300);
  const Batch long_pair = {{1000, 1040}, {0, 1}, 1, 2, 2048};
  check_layer("SmolLM2-135M, 31 positions", {9, 3, 64, 576, 1536, 0, false, false}, pair);
  check_layer("Qwen2.5-1.5B, 31 positions", {12, 2, 128, 1536, 8960, 0, true, false}, pair);
  check_layer("Qwen2.5-1.5B, 1041 positions", {12, 2, 128, 1536, 8960, 0, true, false}, long_pair);
  check_layer("Llama-2-7B, 31 positions", {32, 32, 128, 4096, 11008, 0, false, false}, pair);
}

}  // namespace check
