// The attention half of a decoder layer, as phases for run_phases:
//
//   h = norm(x);  q, k, v = qkv(h);  q, k = rotate(head_norm(q)), rotate(head_norm(k))
//   cache[row][slot = position] = k, v
//   y = x + norm(o(softmax(q K^T / sqrt(D)) V))   over the slots 0..position (or the last `window` of them)
//
// Each norm, and the rotation, only where the layer has it. A head norm is of each head, or of all of q and all of k.
#pragma once

#include <vector>

#include "../linear/project.h"
#include "heads.h"
#include "layer.h"
#include "output.h"

namespace sda {

// Where the new tokens of R streams stand, T each, and the cache they share.
struct TokenPlaces {
  const int32_t* position;  // [R, T], -1 for padding
  const int32_t* row;       // [R]
  const float* rotation;    // [P, D], a line a position
  int64_t T, capacity;
  bool bfloat16;            // or float32
  void *keys, *values;      // [cache rows, G, capacity, D]
};

class Attention {
 public:
  absl::Status allocate(OpKernelContext* ctx, const DecoderLayer& layer, int64_t tokens) {
    TF_RETURN_IF_ERROR(hidden_.allocate(ctx, tokens, layer.qkv));
    TF_RETURN_IF_ERROR(mixed_.allocate(ctx, tokens, layer.o));
    for (int64_t token = 0; token < tokens; token++) mixed_.clear_end(token);
    TF_RETURN_IF_ERROR(output_.allocate(ctx, layer.attention_output_norm, tokens));
    stride_ = round_up(layer.D, kStep);
    TF_RETURN_IF_ERROR(
        ctx->allocate_temp(DT_FLOAT, TensorShape({tokens, layer.width()}), &projected_memory_));
    TF_RETURN_IF_ERROR(ctx->allocate_temp(DT_FLOAT, TensorShape({tokens, layer.H * stride_}), &queries_memory_));
    projected_ = projected_memory_.flat<float>().data();
    queries_ = queries_memory_.flat<float>().data();
    return absl::OkStatus();
  }

  // Phases from x [tokens, K] to y [tokens, K]. Everything must outlive them.
  void add_phases(const DecoderLayer& layer, const TokenPlaces& places, int64_t tokens,
                  const float* x, float* y, std::vector<Phase>& phases) {
    if (places.bfloat16) add_phases_over<CachedBfloat16>(layer, places, tokens, x, y, phases);
    else add_phases_over<CachedFloat32>(layer, places, tokens, x, y, phases);
  }

 private:
  template <typename C>
  void add_phases_over(const DecoderLayer& layer, const TokenPlaces& places, int64_t tokens,
                       const float* x, float* y, std::vector<Phase>& phases) {
    const int64_t G = layer.G;
    phases.push_back(pack_phase(x, values_of(layer.input_norm), layer.epsilon, layer.qkv, hidden_));
    phases.push_back(project_phase(
        layer.qkv, 1, hidden_,
        add_to(projected_, tokens, layer.width(), values_of(layer.qkv_bias), nullptr)));
    phases.push_back({tokens, 1, [&, this](int64_t begin, int64_t end) {
                        for (int64_t token = begin; token < end; token++) append<C>(layer, places, token);
                      }});
    phases.push_back({tokens * G, 1, [&, G, this](int64_t begin, int64_t end) {
                        for (int64_t piece = begin; piece < end; piece++)
                          attend<C>(layer, places, piece / G, piece % G);
                      }});
    output_.add_phases({layer.o, layer.o_bias, layer.attention_output_norm, layer.epsilon}, mixed_, x, y, phases);
  }

  static void norm_in_place(float* values, int64_t count, const float* norm, float epsilon) {
    const float scale = rms_scale(values, count, epsilon);
    for (int64_t i = 0; i < count; i++) values[i] = values[i] * scale * norm[i];
  }

  // Rotated queries of one token to the scratch, its keys and values to the cache.
  template <typename C>
  void append(const DecoderLayer& layer, const TokenPlaces& places, int64_t token) {
    thread_local std::vector<float> key;
    const int64_t H = layer.H, G = layer.G, D = layer.D, position = places.position[token];
    if (position < 0) return;
    float* line = projected_ + token * layer.width();
    const float* rotation = layer.rotates ? places.rotation + position * D : nullptr;
    const float *query_norm = values_of(layer.query_norm), *key_norm = values_of(layer.key_norm);
    if (layer.norms_all_heads()) {
      norm_in_place(line, H * D, query_norm, layer.epsilon);
      norm_in_place(line + H * D, G * D, key_norm, layer.epsilon);
      query_norm = key_norm = nullptr;
    }
    for (int64_t h = 0; h < H; h++) {
      float* to = queries_of(token, h, H);
      norm_and_rotate(line + h * D, D, query_norm, layer.epsilon, rotation, to);
      std::fill(to + D, to + stride_, 0.0f);
    }
    const int64_t row = places.row[token / places.T];
    key.resize(D);
    for (int64_t g = 0; g < G; g++) {
      const int64_t slot = ((row * G + g) * places.capacity + position) * D;
      norm_and_rotate(line + (H + g) * D, D, key_norm, layer.epsilon, rotation, key.data());
      C::write(key.data(), D, stored<C>(places.keys) + slot);
      C::write(line + (H + G + g) * D, D, stored<C>(places.values) + slot);
    }
  }

  // One token with the query heads of key-value head g; the result goes where the rows of o want it.
  template <typename C>
  void attend(const DecoderLayer& layer, const TokenPlaces& places, int64_t token, int64_t g) {
    thread_local std::vector<float> scores, out;
    const int64_t G = layer.G, D = layer.D, group = layer.H / G, window = layer.window;
    const int64_t position = places.position[token];
    out.assign(group * D, 0.0f);
    if (position >= 0) {
      const int64_t first = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
      const int64_t count = position + 1 - first;
      const int64_t row = places.row[token / places.T];
      const int64_t slot = ((row * G + g) * places.capacity + first) * D;
      const float scale = 1.0f / std::sqrt(static_cast<float>(D));
      scores.resize(group * count);
      score_keys<C>(queries_of(token, g * group, layer.H), stride_, group, stored<C>(places.keys) + slot, count, D,
                    scale, scores.data());
      for (int64_t q = 0; q < group; q++) softmax(scores.data() + q * count, count);
      mix_values<C>(scores.data(), group, stored<C>(places.values) + slot, count, D, out.data());
    }
    float* to = mixed_.row(token);
    for (int64_t i = 0; i < group * D; i++) to[mixed_.index(g * group * D + i)] = out[i];
  }

  template <typename C>
  static typename C::Stored* stored(void* cache) {
    return static_cast<typename C::Stored*>(cache);
  }

  float* queries_of(int64_t token, int64_t head, int64_t H) {
    return queries_ + (token * H + head) * stride_;
  }

  int64_t stride_;
  PackedRows hidden_, mixed_;
  Output output_;
  Tensor projected_memory_, queries_memory_;
  float *projected_, *queries_;
};

}  // namespace sda
