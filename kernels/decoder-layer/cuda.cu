// One layer of a Llama- or Qwen-like decoder on an NVIDIA GPU: op.cc says what it computes.
//
// Five launches for few tokens: norm and qkv, attention (attend.cu), o + residual, norm, gate and up with SiLU, down +
// residual. Prompts take one more to append to the cache, and two or three for a linear layer (linear/many.cu). One more
// for each norm of what attention and the MLP add, and for that of all heads together (norms.cu).
// Bytes of a decoding call: the weights (linear/few.cu) and 8 G D (position + 1) of the cache a row.

#include "cuda.h"

#include "attend.h"
#include "norms.h"

namespace sda {
namespace cuda {
namespace {

struct Scratch {
  float* hidden;     // [N, H D]: the heads' outputs
  float* projected;  // [N, (H + 2 G) D]
  float* between;    // [N, K]
  float* active;     // [N, I]
  float* added;      // [N, K]: what is still to be normalised
  float* attention;  // what attention works in
  void* linear;      // what the linear layers work in
  int64_t floats;    // of all before that
};

// Each part begins at a multiple of 16 bytes. Without memory, how much it takes.
Scratch layout(const Layer& layer, const Tokens& tokens, float* memory) {
  Scratch scratch;
  scratch.floats = 0;
  const auto take = [&](int64_t floats) {
    float* const at = memory ? memory + scratch.floats : nullptr;
    scratch.floats += round_up(floats, 4);
    return at;
  };
  const int64_t N = tokens.N;
  scratch.hidden = take(N * layer.H * layer.D);
  scratch.projected = take(N * (layer.H + 2 * layer.G) * layer.D);
  scratch.between = take(N * layer.K);
  scratch.active = take(N * layer.I);
  scratch.added = take(layer.attention_output_norm || layer.mlp_output_norm ? N * layer.K : 0);
  scratch.attention = take(attend_scratch_floats(layer, tokens));
  scratch.linear = take(0);
  return scratch;
}

// y = x + norm(h W^T + bias), the norm only where there is one.
void add_output(const Weights& weights, const Rows& h, const float* bias, const float* norm, float epsilon, const float* x,
                float* y, const Scratch& scratch, cudaStream_t stream) {
  if (!norm) return linear(weights, h, bias, x, y, scratch.linear, stream);
  linear(weights, h, bias, nullptr, scratch.added, scratch.linear, stream);
  add_normed(scratch.added, h.M, weights.N, norm, epsilon, x, y, stream);
}

}  // namespace

size_t layer_scratch_bytes(const Layer& layer, const Tokens& tokens) {
  size_t most = 0;
  for (const Weights& weights : {layer.qkv, layer.o, layer.gate_up, layer.down}) {
    const size_t bytes = linear_scratch_bytes(weights, tokens.N);
    most = bytes > most ? bytes : most;
  }
  return layout(layer, tokens, nullptr).floats * sizeof(float) + most;
}

void decoder_layer(const Layer& layer, const Tokens& tokens, const float* x, float* y, void* memory,
                   cudaStream_t stream) {
  const Scratch scratch = layout(layer, tokens, static_cast<float*>(memory));
  const int64_t N = tokens.N;
  const Rows input = {x, N, layer.input_norm, layer.epsilon}, attended = {scratch.hidden, N, nullptr, 0.0f};
  const Rows between = {scratch.between, N, layer.post_norm, layer.epsilon};
  const Rows active = {scratch.active, N, nullptr, 0.0f};
  linear(layer.qkv, input, layer.qkv_bias, nullptr, scratch.projected, scratch.linear, stream);
  if (layer.norms_all_heads) normalise_heads(layer, N, scratch.projected, stream);
  attend(layer, tokens, scratch.projected, scratch.attention, scratch.hidden, stream);
  add_output(layer.o, attended, layer.o_bias, layer.attention_output_norm, layer.epsilon, x, scratch.between, scratch, stream);
  gated_linear(layer.gate_up, between, layer.gate_up_bias, scratch.active, scratch.linear, stream);
  add_output(layer.down, active, layer.down_bias, layer.mlp_output_norm, layer.epsilon, scratch.between, y, scratch, stream);
}

}  // namespace cuda
}  // namespace sda
