// The launches that the checks of test/cuda call, each by the CPU's operation of the same name (kernels/<name>/op.cc):
// one set of checks and of float64 results holds both.

#define SDA_CUDA_EMULATE  // the checks' buffers are the host's memory

#include "../../../kernels/decoder-layer/cuda.h"
#include "../../../kernels/embed/cuda.h"
#include "../../../kernels/linear/few.h"
#include "../../../kernels/linear/many.h"
#include "../../../kernels/math.h"
#include "../../../kernels/sample/cuda.h"
#include "../../../kernels/sda-step/cuda.h"
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

Tensor tensor_of(const Weights& weights) {
  const tensorflow::DataType type = weights.type == WeightType::kFloat32    ? tensorflow::DT_FLOAT
                                    : weights.type == WeightType::kBfloat16 ? tensorflow::DT_BFLOAT16
                                                                            : tensorflow::DT_HALF;
  Tensor tensor(type, {weights.N, weights.K});
  std::memcpy(tensor.data(), weights.data, tensor.TotalBytes());
  return tensor;
}

Tensor variable(const float* values, const TensorShape& shape) {
  Tensor handle(tensorflow::DT_RESOURCE, {});
  handle.scalar<ResourceHandle>()() =
      ResourceHandle::MakeRefCountingHandle(new tensorflow::Var(tensor_of(values, shape)), "");
  return handle;
}

void copy_out(const Tensor& tensor, float* to) { std::memcpy(to, tensor.data(), tensor.TotalBytes()); }

void copy_variable(const Tensor& handle, float* to) {
  copy_out(*static_cast<tensorflow::Var&>(*handle.scalar<ResourceHandle>()().resource).tensor(), to);
}

}  // namespace

size_t linear_scratch_bytes(const Weights&, int64_t) { return 0; }
size_t layer_scratch_bytes(const Layer&, const Tokens&) { return 0; }
size_t step_scratch_bytes(int64_t, int64_t, int64_t) { return 0; }
size_t sample_scratch_bytes(int64_t, int64_t) { return 0; }

// There are no tensor cores, whose results may be further off.
bool is_worth_many(int64_t, int64_t) { return false; }
bool takes_many(const Weights&) { return false; }
// Asked of by the check that rows have the same bits among many as alone: here always.
bool takes_few(const Weights&, const Rows&) { return true; }

void linear(const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y, void*,
            cudaStream_t) {
  const auto& [x, M, norm, epsilon] = rows;
  const auto& [_, type, N, K] = weights;
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

void step(const StepSettings& settings, const float* logits, const float* strength, int64_t B, int64_t S, int64_t V,
          float* log_probs, float* stats, void*, cudaStream_t) {
  const auto& [t0, sigma, t_min, plausibility, base] = settings;
  const auto out = execute(
      "SdaStep", {{"t0", t0}, {"sigma", sigma}, {"t_min", t_min}, {"plausibility", plausibility}, {"base", base}},
      {tensor_of(logits, {S * B, V}), tensor_of(strength, {B})});
  copy_out(out[0], log_probs);
  copy_out(out[1], stats);
}

void sample(const SampleSettings& settings, const float* log_probs, const float* logits, const float* stats,
            const float* uniforms, int64_t B, int64_t S, int64_t V, float* draw, void*, cudaStream_t) {
  const auto& [top_k, top_p, min_p, greedy] = settings;
  const auto out = execute(
      "SdaSample", {{"top_k", top_k}, {"top_p", top_p}, {"min_p", min_p}, {"greedy", greedy}},
      {tensor_of(log_probs, {B, V}), tensor_of(logits, {S * B, V}), tensor_of(stats, {B, kStatsWidth}),
       tensor_of(uniforms, {B})});
  copy_out(out[0], draw);
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
  const Tensor keys = variable(tokens.keys, cache), values = variable(tokens.values, cache);
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
