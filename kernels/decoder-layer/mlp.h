// The MLP half of a decoder layer, as phases for run_phases:
//
//   y = x + norm(down(silu(gate(h)) * up(h))),  h = norm(x),  silu(z) = z / (1 + e^-z)
//
// Each norm only where the layer has it.
// A thread meets row i of gate and of up together, and the activations stay in the cache, in the order in which
// the rows of `down` unpack.
#pragma once

#include <vector>

#include "../linear/project.h"
#include "../math.h"
#include "layer.h"
#include "output.h"

namespace sda {

class Mlp {
 public:
  absl::Status allocate(OpKernelContext* ctx, const DecoderLayer& layer, int64_t tokens) {
    TF_RETURN_IF_ERROR(hidden_.allocate(ctx, tokens, layer.gate_up));
    TF_RETURN_IF_ERROR(activations_.allocate(ctx, tokens, layer.down));
    for (int64_t token = 0; token < tokens; token++) activations_.clear_end(token);
    return output_.allocate(ctx, layer.mlp_output_norm, tokens);
  }

  // Phases from x [tokens, K] to y [tokens, K]. Everything must outlive them.
  void add_phases(const DecoderLayer& layer, int64_t tokens, const float* x, float* y,
                  std::vector<Phase>& phases) {
    phases.push_back(pack_phase(x, values_of(layer.post_norm), layer.epsilon, layer.gate_up, hidden_));
    phases.push_back(project_phase(layer.gate_up, 2, hidden_,
                                   [&layer, this](int64_t n, const auto& dots) { activate(layer, n, dots); }));
    output_.add_phases({layer.down, layer.down_bias, layer.mlp_output_norm, layer.epsilon}, activations_, x, y, phases);
  }

 private:
  // dots: gates, then ups, of columns n..n+count-1 for each of the M rows of x.
  void activate(const DecoderLayer& layer, int64_t n, const ColumnDots& dots) {
    constexpr int64_t kRows = ColumnDots::kRows;
    const float* bias = values_of(layer.gate_up_bias);
    const int64_t I = layer.intermediate();
    int64_t places[kRows];
    float gate_bias[kRows] = {}, up_bias[kRows] = {}, values[kRows];
    for (int64_t r = 0; r < dots.count; r++) {
      places[r] = activations_.index(n + r);
      if (!bias) continue;
      gate_bias[r] = bias[n + r];
      up_bias[r] = bias[I + n + r];
    }
    for (int64_t m = 0; m < dots.M; m++) {
      const float *gate = dots.line(0, m), *up = dots.line(1, m);
      for (int64_t r = 0; r < kRows; r += kLanes) {
        Vec g = load(gate + r), u = load(up + r);
        if (bias) {
          g += load(gate_bias + r);
          u += load(up_bias + r);
        }
        store(values + r, silu(g) * u);
      }
      float* to = activations_.row(m);
      for (int64_t r = 0; r < dots.count; r++) to[places[r]] = values[r];
    }
  }

  void activate(const DecoderLayer& layer, int64_t n, const RowDots& dots) {
    thread_local std::vector<float> values;
    const int64_t M = dots.M, count = dots.count, half = count * M, I = layer.intermediate();
    values.assign(dots.values, dots.values + 2 * half);
    float *gate = values.data(), *up = gate + half;
    if (const float* bias = values_of(layer.gate_up_bias)) {
      for (int64_t i = 0; i < half; i++) {
        gate[i] += bias[n + i / M];
        up[i] += bias[I + n + i / M];
      }
    }
    int64_t i = 0;
    for (; i + kLanes <= half; i += kLanes) store(gate + i, silu(load(gate + i)) * load(up + i));
    for (; i < half; i++) gate[i] = silu(gate[i]) * up[i];
    for (int64_t r = 0; r < count; r++) {
      const int64_t place = activations_.index(n + r);
      for (int64_t m = 0; m < M; m++) activations_.row(m)[place] = gate[r * M + m];
    }
  }

  PackedRows hidden_, activations_;
  Output output_;
};

}  // namespace sda
