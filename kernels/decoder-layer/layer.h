// The weights of one decoder layer, held together by one handle: an operation's cost grows with its inputs, and a
// layer has a dozen tensors that never change.
#pragma once

#include <string>

#include "../linear/matrix.h"
#include "../op.h"
#include "tensorflow/core/framework/resource_base.h"

namespace sda {

// H query heads, G key-value heads of size D; K hidden, I intermediate.
struct DecoderLayer : public tensorflow::ResourceBase {
  int64_t H, G, D, window;  // window: how many positions back a token sees, 0 for all
  bool rotates;             // queries and keys, by their position
  float epsilon;
  Tensor input_norm, post_norm;        // [K], of what attention and MLP take; empty where absent
  Tensor attention_output_norm, mlp_output_norm;  // [K], of what they add; empty where absent
  Tensor qkv, o;                       // [(H + 2 G) D, K], [K, H D]
  Tensor gate_up, down;                // [2 I, K], [K, I]
  Tensor qkv_bias, o_bias;             // [(H + 2 G) D], [K]; empty where absent
  Tensor query_norm, key_norm;         // [D] of each head, or [H D], [G D] of all heads together; empty where absent
  Tensor gate_up_bias, down_bias;      // [2 I], [K]; empty where absent

  ToldShapes told;                     // of qkv, o, gate_up, down, where they are a GPU's

  int64_t hidden() const { return rows_of(o, told.of(1)); }
  int64_t intermediate() const { return columns_of(down, told.of(3)); }
  bool norms_all_heads() const { return query_norm.NumElements() > D; }
  int64_t width() const { return (H + 2 * G) * D; }
  std::string DebugString() const override { return "weights of a decoder layer"; }
};

// The values of a float32 vector, or null where it is absent.
inline const float* values_of(const Tensor& tensor) {
  return tensor.NumElements() > 0 ? tensor.flat<float>().data() : nullptr;
}

}  // namespace sda
