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
#include "turned_keys.h"

namespace sda {

// Where the new tokens of R streams stand, T each, and the cache they share.
struct TokenPlaces {
  const int32_t* position;  // [R, T], -1 for padding
  const int32_t* row;       // [R]
  const float* rotation;    // [P, D], a line a position
  int64_t T, capacity;
  bool bfloat16;            // or float32
  void *keys, *values;      // [cache rows, G, capacity, D]
  int32_t row_of(int64_t token) const { return row[token / T]; }
};

class Attention {
 public:
  absl::Status allocate(OpKernelContext* ctx, const DecoderLayer& layer, int64_t tokens) {
    TF_RETURN_IF_ERROR(hidden_.allocate(ctx, tokens, layer.qkv));
    TF_RETURN_IF_ERROR(mixed_.allocate(ctx, tokens, layer.o));
    for (int64_t token = 0; token < tokens; token++) mixed_.clear_end(token);
    TF_RETURN_IF_ERROR(output_.allocate(ctx, layer.attention_output_norm, tokens));
    stride_ = round_up(layer.D, kStep);
    threads_ = ctx->device()->tensorflow_cpu_worker_threads()->num_threads;
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
    divide(layer, places, tokens);
    const int64_t pieces = static_cast<int64_t>(blocks_.size());
    phases.push_back({pieces * G, 1, [&, G, this](int64_t begin, int64_t end) {
                        for (int64_t piece = begin; piece < end; piece++)
                          attend<C>(layer, places, blocks_[piece / G], piece % G);
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
    const int64_t row = places.row_of(token);
    key.resize(D);
    for (int64_t g = 0; g < G; g++) {
      const int64_t slot = ((row * G + g) * places.capacity + position) * D;
      norm_and_rotate(line + (H + g) * D, D, key_norm, layer.epsilon, rotation, key.data());
      C::write(key.data(), D, stored<C>(places.keys) + slot);
      C::write(line + (H + G + g) * D, D, stored<C>(places.values) + slot);
    }
  }

  // For fewer tokens than that turning the keys takes longer than it saves.
  static constexpr int64_t kFewestTogether = 8;

  // Neighbouring tokens of one row, which see the same keys.
  struct Block {
    int64_t first, count;
    bool together() const { return count >= kFewestTogether; }
  };

  // Blocks as large as leaves a few for each thread, and as their scores stay in the second-level cache; or single tokens.
  void divide(const DecoderLayer& layer, const TokenPlaces& places, int64_t tokens) {
    constexpr int64_t kMostTokens = 32, kMostScores = 256 * 1024;
    const int64_t group = layer.H / layer.G, share = tokens * layer.G / (4 * threads_);
    const int64_t most = share < kFewestTogether ? 1 : std::min(kMostTokens, share);
    for (int64_t token = 0; token < tokens; token++) {
      const int64_t room = kMostScores / (group * std::max<int64_t>(1, places.position[token] + 1));
      const bool goes_on = !blocks_.empty() && layer.D % kLanes == 0 && places.row_of(token) == places.row_of(token - 1) &&
                           blocks_.back().count < std::min(most, std::max(room, kFewestTogether));
      if (goes_on) blocks_.back().count++;
      else blocks_.push_back({token, 1});
    }
  }

  // Some tokens with the query heads of key-value head g; the results go where the rows of o want them.
  template <typename C>
  void attend(const DecoderLayer& layer, const TokenPlaces& places, const Block& block, int64_t g) {
    thread_local std::vector<float> scores, out;
    thread_local std::vector<Sight> sights;
    thread_local std::vector<int64_t> at;
    const int64_t D = layer.D, group = layer.H / layer.G;
    const float scale = 1.0f / std::sqrt(static_cast<float>(D));
    sights.clear();
    at.assign(1, 0);
    for (int64_t token = block.first; token < block.first + block.count; token++) {
      sights.push_back(sight_of(layer, places.position[token]));
      at.push_back(at.back() + group * sights.back().count);
    }
    scores.resize(at.back());
    const int64_t slot = (places.row_of(block.first) * layer.G + g) * places.capacity * D;
    const auto *keys = stored<C>(places.keys) + slot, *values = stored<C>(places.values) + slot;
    if (block.together()) score_together<C>(layer, block, g, keys, sights, at, scale, scores.data());
    for (int64_t i = 0; i < block.count; i++) {
      const Sight& sight = sights[i];
      const int64_t token = block.first + i, count = sight.count;
      const float* queries = queries_of(token, g * group, layer.H);
      float* own = scores.data() + at[i];
      if (block.together())
        score_rest<C>(queries, stride_, group, keys + sight.first * D, count / 4 * 4, count, D, scale, own);
      else score_keys<C>(queries, stride_, group, keys + sight.first * D, count, D, scale, own);
      for (int64_t q = 0; q < group; q++) softmax(own + q * count, count);
      out.assign(group * D, 0.0f);
      if (count > 0) mix_values<C>(own, group, values + sight.first * D, count, D, out.data());
      float* to = mixed_.row(token);
      for (int64_t c = 0; c < group * D; c++) to[mixed_.index(g * group * D + c)] = out[c];
    }
  }

  // Nothing, of padding.
  static Sight sight_of(const DecoderLayer& layer, int64_t position) {
    const int64_t first = layer.window > 0 ? std::max<int64_t>(0, position - layer.window + 1) : 0;
    return {first, position + 1 - std::min(first, position + 1)};
  }

  // The scores of all tokens of a block, but those of the last count % 4 keys of each. keys: from position 0 on
  template <typename C>
  void score_together(const DecoderLayer& layer, const Block& block, int64_t g, const typename C::Stored* keys,
                      const std::vector<Sight>& sights, const std::vector<int64_t>& at, float scale, float* scores) {
    thread_local std::vector<float> turned;
    const int64_t D = layer.D, group = layer.H / layer.G;
    int64_t first = INT64_MAX, end = 0;
    for (const Sight& sight : sights) {
      if (sight.count == 0) continue;
      first = std::min(first, sight.first);
      end = std::max(end, sight.fours());
    }
    turned.resize(D * kLanes);
    for (int64_t key = first; key < end; key += kLanes) {
      turn_keys<C>(keys + key * D, std::min<int64_t>(kLanes, end - key), D, turned.data());
      for (int64_t i = 0; i < block.count; i++) {
        const float* queries = queries_of(block.first + i, g * group, layer.H);
        float* own = scores + at[i];
        int64_t q = 0;
        for (; q + 3 <= group; q += 3)
          score_seen<3>(queries + q * stride_, stride_, turned.data(), key, D, scale, sights[i], own + q * sights[i].count);
        for (; q < group; q++)
          score_seen<1>(queries + q * stride_, stride_, turned.data(), key, D, scale, sights[i], own + q * sights[i].count);
      }
    }
  }

  template <typename C>
  static typename C::Stored* stored(void* cache) {
    return static_cast<typename C::Stored*>(cache);
  }

  float* queries_of(int64_t token, int64_t head, int64_t H) {
    return queries_ + (token * H + head) * stride_;
  }

  int64_t stride_, threads_;
  std::vector<Block> blocks_;
  PackedRows hidden_, mixed_;
  Output output_;
  Tensor projected_memory_, queries_memory_;
  float *projected_, *queries_;
};

}  // namespace sda
