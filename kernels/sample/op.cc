// SdaSample: draws one token a query from log P' of SdaStep, after top-k, top-p and min-p (select.h).
//
//   log_probs [B, V], logits [S B, V], stats [B, W] of SdaStep, settings [B, 4] (see settings.h), uniforms [B], all
//   float32;  draw [B, 2 + S + W]: id, log P' and the L of all streams of the token, the statistics
//
// Passes over log_probs: see line.h. Without cuts: the blocks' masses, then one block again. Bytes per query and token: 8.
// Masses are float64 and added in id order: the draw does not depend on the number of threads.

#include "kernel.h"
#include "line.h"

namespace sda {

REGISTER_OP("SdaSample")
    .Input("log_probs: float")
    .Input("logits: float")
    .Input("stats: float")
    .Input("settings: float")
    .Input("uniforms: float")
    .Output("draw: float")
    .Attr("kinds: list(int)")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle log_probs;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &log_probs));
      c->set_output(0, c->Matrix(c->Dim(log_probs, 0), c->UnknownDim()));
      return absl::OkStatus();
    });

class SdaSampleOp : public SampleKernel {
 public:
  using SampleKernel::SampleKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const SampleKinds& kinds, const Draws& draws) const override {
    const auto& [log_probs, x, all_stats, settings, uniforms, B, S, V, width, draw] = draws;
    for (int64_t q = 0; q < B; q++) {
      const float* line = log_probs + q * V;
      const float* stats = all_stats + q * width;
      const int64_t id = choose(Line(ctx, line, V), kinds, line, settings + q * kSampleSettings, uniforms[q]);
      float* out = draw + q * draw_width(S, width);
      out[kId] = static_cast<float>(id);
      out[kLogProb] = line[id];
      for (int64_t s = 0; s < S; s++) out[kStreams + s] = x[(q * S + s) * V + id] - stats[kLogZ + s];
      std::copy_n(stats, width, out + kStreams + S);
    }
    return absl::OkStatus();
  }

  static int64_t choose(const Line& line, const SampleKinds& kinds, const float* x, const float* settings, double u) {
    if (!line.possible()) return 0;  // nothing to draw from
    const bool greedy = kinds.greedy == Greedy::kSome ? settings[kGreedy] != 0.0f : kinds.greedy == Greedy::kAll;
    if (greedy) return line.best();
    const int64_t top_k = kinds.top_k && settings[kTopK] >= 1.0f ? static_cast<int64_t>(settings[kTopK]) : 0;
    const Cuts cuts = {top_k, settings[kTopP], settings[kMinP]};
    if (!cuts.any()) return draw_from_all(line, x, u);
    const double all_mass = std::exp(-static_cast<double>(line.largest()));  // log P' is normalised
    const auto [candidates, last] = line.keep(cuts, 1.0, all_mass);
    return draw_among(candidates, last, u).id;
  }

  // Without cuts: the block in which the draw falls by the blocks' masses, then the token in it.
  static int64_t draw_from_all(const Line& line, const float* x, double u) {
    const auto mass_of = [&](int64_t id) {
      return static_cast<double>(exp_fast(x[id] - line.largest()));
    };
    std::vector<double> masses(line.blocks());
    std::vector<int64_t> ends(line.blocks());
    line.each_block([&](int64_t b, int64_t begin, int64_t end) {
      for (int64_t id = begin; id < end; id++) masses[b] += mass_of(id);
      ends[b] = end;
    });
    double total = 0.0;
    for (double mass : masses) total += mass;
    double cumulative = 0.0;
    int64_t chosen = 0;
    for (int64_t b = 0; b < line.blocks(); b++) {
      if (masses[b] == 0.0) continue;
      if (cumulative + masses[b] <= u * total && b + 1 < line.blocks()) {
        cumulative += masses[b];
        chosen = ends[b] - 1;
        continue;
      }
      for (int64_t id = b * Line::kBlock; id < ends[b]; id++) {
        const double mass = mass_of(id);
        if (mass == 0.0) continue;
        chosen = id;
        cumulative += mass;
        if (cumulative > u * total) return id;
      }
    }
    // rounding took the target past the last token: the last possible one
    while (chosen > 0 && mass_of(chosen) == 0.0) chosen--;
    return chosen;
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaSample").Device(tensorflow::DEVICE_CPU), SdaSampleOp);
SDA_OPERATION(SdaSample);

}  // namespace sda
