// SdaCut: the least logit that top-k and top-p keep of one stream, for B queries.
//
//   logits [S B, V], settings [B, 3] (see settings.h), both float32;  least [B]
//
// The sampler's search (../sample/line.h) over raw logits; top-p needs one more pass for the sum of exp(logit / T). Bytes
// per query and token: 12. Nothing is sorted but what lies near the cut.

#include "../sample/line.h"
#include "kernel.h"

namespace sda {

REGISTER_OP("SdaCut")
    .Input("logits: float")
    .Input("settings: float")
    .Output("least: float")
    .Attr("stream: int >= 0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle settings;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &settings));
      c->set_output(0, c->Vector(c->Dim(settings, 0)));
      return absl::OkStatus();
    });

class SdaCutOp : public CutKernel {
 public:
  using CutKernel::CutKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const Cutting& cutting) const override {
    for (int64_t q = 0; q < cutting.B; q++)
      cutting.least[q] =
          least_kept(ctx, cutting.logits + q * cutting.apart, cutting.V, cutting.settings + q * kCutSettings);
    return absl::OkStatus();
  }

  static float least_kept(OpKernelContext* ctx, const float* x, int64_t V, const float* settings) {
    const int64_t top_k = settings[kCutTopK] >= 1.0f && settings[kCutTopK] < static_cast<float>(V)
                              ? static_cast<int64_t>(settings[kCutTopK])
                              : 0;
    const Cuts cuts = {top_k, settings[kCutTopP], 0.0};
    if (!cuts.any()) return -kInfinity;
    const Line line(ctx, x, V);
    if (!line.possible()) return -kInfinity;  // the step names the unusable logit
    const float scale = 1.0f / max_of(settings[kCutTemperature], kLeastCutTemperature);
    return line.keep(cuts, scale, top_k > 0 ? 0.0 : mass_of(line, x, scale)).last.log_prob;
  }

  // The sum of exp((x - largest) * scale) over a line.
  static double mass_of(const Line& line, const float* x, float scale) {
    std::vector<double> masses(line.blocks());
    line.each_block([&](int64_t b, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += kLanes) {
        const Vec v = end - i >= kLanes ? load(x + i) : load_part(x + i, end - i, -kInfinity);
        masses[b] += sum_lanes(exp_fast((v - line.largest()) * scale));
      }
    });
    double all = 0.0;
    for (double mass : masses) all += mass;
    return all;
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaCut").Device(tensorflow::DEVICE_CPU), SdaCutOp);
SDA_OPERATION(SdaCut);

}  // namespace sda
