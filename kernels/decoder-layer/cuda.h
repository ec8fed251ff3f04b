// Launches of a decoder layer on an NVIDIA GPU; see cuda.cu.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../linear/cuda.h"

namespace sda {
namespace cuda {

// A layer's weights on the device; biases and norms may be null. Shapes as in layer.h.
struct Layer {
  int64_t H, G, D, K, I, window;
  float epsilon;
  const float *input_norm, *post_norm;
  Weights qkv, o, gate_up, down;
  const float *qkv_bias, *o_bias, *query_norm, *key_norm, *gate_up_bias, *down_bias;
  const float *attention_output_norm = nullptr, *mlp_output_norm = nullptr;
  bool norms_all_heads = false, rotates = true;
};

// Where N = R T new tokens stand, and the cache; all on the device.
struct Tokens {
  const int32_t* position;  // [R, T], -1 for padding
  const int32_t* row;       // [R]
  const float* rotation;    // [P, D], a line a position
  int64_t N, T, capacity;
  int64_t longest;          // the largest position, plus 1
  void *keys, *values;      // [cache rows, G, capacity, D]: float32, or bfloat16 where `narrow`
  bool row_twice = false;   // whether a row stands more than once
  bool narrow = false;
};

// Largest size of a head, and most query heads a key-value head.
constexpr int64_t kMostHeadSize = 256;
constexpr int64_t kMostGroup = 16;

size_t layer_scratch_bytes(const Layer& layer, const Tokens& tokens);

// y [N, K] from x [N, K]; keys and values of the new tokens are written into the cache.
void decoder_layer(const Layer& layer, const Tokens& tokens, const float* x, float* y, void* scratch,
                   cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
