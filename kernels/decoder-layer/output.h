// The end of each half of a decoder layer, as phases for run_phases:
//
//   y = x + norm(W h + bias), the norm only where the layer has one
#pragma once

#include <vector>

#include "../linear/project.h"
#include "layer.h"

namespace sda {

// What a half of a layer ends with. The norm and the bias may be empty.
struct OutputWeights {
  const Tensor &weight, &bias, &norm;
  float epsilon;
};

class Output {
 public:
  absl::Status allocate(OpKernelContext* ctx, const Tensor& norm, int64_t tokens) {
    if (norm.NumElements() == 0) return absl::OkStatus();
    return ctx->allocate_temp(DT_FLOAT, TensorShape({tokens, norm.NumElements()}), &added_);
  }

  // Phases from h and x [tokens, K] to y [tokens, K]. Everything must outlive them.
  void add_phases(const OutputWeights& weights, PackedRows& h, const float* x, float* y,
                  std::vector<Phase>& phases) {
    const auto& [weight, bias_of, norm_of, epsilon] = weights;
    const int64_t M = h.M, K = rows_of(weight);
    const float *bias = values_of(bias_of), *norm = values_of(norm_of);
    add_split_phase(h, phases);
    if (!norm) {
      phases.push_back(project_phase(weight, 1, h, add_to(y, M, K, bias, x)));
      return;
    }
    float* added = added_.flat<float>().data();
    phases.push_back(project_phase(weight, 1, h, add_to(added, M, K, bias, nullptr)));
    phases.push_back({M, 1, [=, epsilon = epsilon](int64_t begin, int64_t end) {
                        for (int64_t m = begin; m < end; m++) {
                          const float* line = added + m * K;
                          const float scale = rms_scale(line, K, epsilon);
                          for (int64_t k = 0; k < K; k++)
                            y[m * K + k] = x[m * K + k] + line[k] * scale * norm[k];
                        }
                      }});
  }

 private:
  Tensor added_;
};

}  // namespace sda
