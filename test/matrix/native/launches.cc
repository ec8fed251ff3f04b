// The launches that the checks of test/cuda call, each by the CPU's operation of the same name (kernels/<name>/op.cc):
// one set of checks and of float64 results holds both.

#define SDA_CUDA_EMULATE  // the checks' buffers are the host's memory

#include "../../../kernels/cut/cuda.h"
#include "../../../kernels/decoder-layer/cuda.h"
#include "../../../kernels/embed/cuda.h"
#include "../../../kernels/linear/few.h"
#include "../../../kernels/linear/many.h"
#include "../../../kernels/math.h"
#include "../../../kernels/sample/cuda.h"
#include "../../../kernels/step/cuda.h"
#include "../../../kernels/upload/cuda.h"
#include "stand_in.h"

namespace sda {
namespace cuda {
namespace {

using tensorflow::execute;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <typename T>
Tensor tensor_of(const T* values, const TensorShape& shape) {
  Tensor tensor(tensorflow::type_of<T>(), shape);
  std::copy_n(values, shape.num_elements(), tensor.flat<T>().data());
  return tensor;
}

// Empty where there are no values.
Tensor vector_of(const float* values, int64_t size) {
  return values ? tensor_of(values, {size}) : Tensor(tensorflow::DT_FLOAT, {0});
}

// On the CPU the header says what the checks tell a GPU.
Tensor quantised_tensor(const Weights& weights) {
  const QuantisedShape& shape = weights.quantised;
  QuantisedHeader header = {};
  std::memcpy(header.magic, kQuantisedMagic, sizeof(kQuantisedMagic));
  header.bits = shape.bits, header.parts = shape.parts, header.rows = shape.N, header.columns = shape.K;
  header.scales = shape.scales, header.zeros = shape.zeros, header.ordered = shape.ordered;
  Tensor tensor = tensor_of(static_cast<const int32_t*>(weights.data), {shape.bytes() / 4});
  std::memcpy(tensor.data(), &header, sizeof(header));
  return tensor;
}

Tensor tensor_of(const Weights& weights) {
  if (is_quantised(weights)) return quantised_tensor(weights);
  const tensorflow::DataType type = weights.type == WeightType::kFloat32    ? tensorflow::DT_FLOAT
                                    : weights.type == WeightType::kBfloat16 ? tensorflow::DT_BFLOAT16
                                                                            : tensorflow::DT_HALF;
  Tensor tensor(type, {weights.N, weights.K});
  std::memcpy(tensor.data(), weights.data, tensor.TotalBytes());
  return tensor;
}

Tensor variable(const void* values, const TensorShape& shape, tensorflow::DataType type) {
  Tensor handle(tensorflow::DT_RESOURCE, {}), value(type, shape);
  std::memcpy(value.data(), values, value.TotalBytes());
  handle.scalar<ResourceHandle>()() = ResourceHandle::MakeRefCountingHandle(new tensorflow::Var(value), "");
  return handle;
}

void copy_out(const Tensor& tensor, void* to) { std::memcpy(to, tensor.data(), tensor.TotalBytes()); }

void copy_variable(const Tensor& handle, void* to) {
  copy_out(*static_cast<tensorflow::Var&>(*handle.scalar<ResourceHandle>()().resource).tensor(), to);
}

}  // namespace

size_t linear_scratch_bytes(const Weights&, int64_t) { return 0; }
size_t layer_scratch_bytes(const Layer&, const Tokens&) { return 0; }
size_t step_scratch_bytes(int64_t, int64_t, int64_t, bool) { return 0; }
size_t sample_scratch_bytes(int64_t, int64_t) { return 0; }

// There are no tensor cores, whose results may be further off.
bool is_worth_many(int64_t, int64_t) { return false; }
bool takes_many(const Weights&) { return false; }
// Asked of by the check that rows have the same bits among many as alone: here always.
bool takes_few(const Weights&, const Rows&) { return true; }

void linear(const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y, void*,
            cudaStream_t) {
  const auto& [x, M, norm, epsilon] = rows;
  const int64_t N = weights.N, K = weights.K;
  const Tensor rows_of_x = tensor_of(x, {M, K});
  const auto given = [&](const float* values, const TensorShape& shape) {
    return values ? tensor_of(values, shape) : rows_of_x;
  };
  const auto y_of = execute(
      "SdaLinear", {{"has_bias", bias != nullptr}, {"has_norm", norm != nullptr}, {"has_residual", residual != nullptr}, {"epsilon", epsilon}},
      {rows_of_x, tensor_of(weights), given(bias, {N}), given(norm, {K}), given(residual, {M, N})});
  copy_out(y_of[0], y);
}

void gated_linear(const Weights& weights, const Rows& rows, const float* bias, float* y, void*, cudaStream_t) {
  const int64_t half = weights.N / 2;
  std::vector<float> both(rows.M * weights.N);
  linear(weights, rows, bias, nullptr, both.data(), nullptr, nullptr);
  for (int64_t i = 0; i < rows.M * half; i++) {
    const float* row = &both[i / half * weights.N + i % half];
    y[i] = silu(row[0]) * row[half];
  }
}

void step(const StepKinds& kinds, const float* logits, const float* numbers, const float* least, int64_t B, int64_t S,
          int64_t V, float* log_probs, float* stats, void*, cudaStream_t) {
  const std::vector<double> list = {1.0 * kinds.anchor,          1.0 * kinds.pair[0],
                                    1.0 * kinds.pair[1],         1.0 * kinds.js_weights,
                                    1.0 * static_cast<int>(kinds.mask), 1.0 * kinds.mask_stream,
                                    1.0 * static_cast<int>(kinds.temperature), 1.0 * kinds.details};
  const auto out = execute(
      "SdaStep", {{"kinds", list}},
      {tensor_of(logits, {S * B, V}), tensor_of(numbers, {B, step_numbers_width(S)}), vector_of(least, B)});
  copy_out(out[0], log_probs);
  copy_out(out[1], stats);
}

void sample(const SampleKinds& kinds, const SampleInput& in, float* draw, void*, cudaStream_t) {
  const auto& [log_probs, logits, stats, settings, uniforms, B, S, V, width] = in;
  const std::vector<double> list = {1.0 * kinds.top_k, 1.0 * static_cast<int>(kinds.greedy)};
  const auto out = execute("SdaSample", {{"kinds", list}},
                           {tensor_of(log_probs, {B, V}), tensor_of(logits, {S * B, V}), tensor_of(stats, {B, width}),
                            tensor_of(settings, {B, kSampleSettings}), tensor_of(uniforms, {B})});
  copy_out(out[0], draw);
}

void cut(const float* logits, const float* settings, int64_t B, int64_t apart, int64_t V, float* least, cudaStream_t) {
  std::vector<float> lines;
  for (int64_t q = 0; q < B; q++) lines.insert(lines.end(), logits + q * apart, logits + q * apart + V);
  const auto out = execute("SdaCut", {{"stream", 0}},
                           {tensor_of(lines.data(), {B, V}), tensor_of(settings, {B, kCutSettings})});
  copy_out(out[0], least);
}

void decoder_layer(const Layer& layer, const Tokens& tokens, const float* x, float* y, void*, cudaStream_t) {
  const auto& [H, G, D, K, I, window, epsilon, input_norm, post_norm, qkv, o, gate_up, down, qkv_bias, o_bias, query_norm,
               key_norm, gate_up_bias, down_bias, attention_output_norm, mlp_output_norm, norms_all_heads, rotates] = layer;
  const tensorflow::Attributes facts = {{"num_heads", H}, {"num_key_value_heads", G}, {"head_dim", D},
                                        {"window", window}, {"rotates", rotates}, {"epsilon", epsilon}};
  const int64_t queries = norms_all_heads ? H * D : D, each_key = norms_all_heads ? G * D : D;
  const auto handle = execute("SdaDecoderLayerWeights", facts,
                              {vector_of(input_norm, K), tensor_of(qkv), vector_of(qkv_bias, qkv.N),
                               vector_of(query_norm, queries), vector_of(key_norm, each_key), tensor_of(o), vector_of(o_bias, K),
                               vector_of(post_norm, K), tensor_of(gate_up), vector_of(gate_up_bias, 2 * I),
                               tensor_of(down), vector_of(down_bias, K), vector_of(attention_output_norm, K),
                               vector_of(mlp_output_norm, K)});
  const int64_t R = tokens.N / tokens.T;
  const TensorShape cache = {1 + *std::max_element(tokens.row, tokens.row + R), G, tokens.capacity, D};
  const tensorflow::DataType type = tokens.narrow ? tensorflow::DT_BFLOAT16 : tensorflow::DT_FLOAT;
  const Tensor keys = variable(tokens.keys, cache, type), values = variable(tokens.values, cache, type);
  const auto out = execute("SdaDecoderLayers", {{"L", 1}},
                           {tensor_of(x, {tokens.N, K}), tensor_of(tokens.position, {R, tokens.T}),
                            tensor_of(tokens.row, {R}), tensor_of(tokens.rotation, {tokens.longest, D}), handle[0], keys,
                            values});
  copy_out(out[0], y);
  copy_variable(keys, tokens.keys);
  copy_variable(values, tokens.values);
}

void embed(const Weights& table, const int32_t* ids, const float* drawn, int64_t W, int64_t N, float* x, cudaStream_t) {
  int64_t lines = 1;
  for (int64_t n = 0; n < N; n++) lines = std::max<int64_t>(lines, ids[n] < 0 ? ~ids[n] + 1 : 0);
  const auto out = execute("SdaEmbed", {}, {tensor_of(table), tensor_of(ids, {N}), tensor_of(drawn, {lines, W})});
  copy_out(out[0], x);
}

void upload(const int32_t* values, int64_t count, int32_t* to, cudaStream_t) {
  const auto out = execute("SdaUpload", {}, {tensor_of(values, {count})});
  std::memcpy(to, out[0].data(), out[0].TotalBytes());
}

}  // namespace cuda
}  // namespace sda
