// SdaSample: draws one token a query from log P' (eq 8), after top-k, top-p and min-p (select.h).
//
//   log_probs [B, V], logits [S B, V], stats [B, 6] of SdaStep, uniforms [B], all float32
//   draw [B, 8]: id, log P', log P1, log P2 of the token, JS, T, first unusable stream and token
//
// Passes over log_probs, split over all threads in blocks: the largest; then the tokens near it (a vector comparison;
// exponentials only for those). The distance is widened until the cut surely lies inside; a usual step needs a
// few hundred tokens. Without cuts: the blocks' masses, then one block again. Bytes per query and token: 8.
// Masses are float64 and added in id order: the draw does not depend on the number of threads.

#include "../op.h"
#include "../math.h"
#include "kernel.h"
#include "select.h"

namespace sda {

REGISTER_OP("SdaSample")
    .Input("log_probs: float")
    .Input("logits: float")
    .Input("stats: float")
    .Input("uniforms: float")
    .Output("draw: float")
    .Attr("top_k: int >= 0")
    .Attr("top_p: float")
    .Attr("min_p: float")
    .Attr("greedy: bool")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle log_probs;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &log_probs));
      c->set_output(0, c->Matrix(c->Dim(log_probs, 0), 8));
      return absl::OkStatus();
    });

namespace {

constexpr int64_t kBlock = 4096;
// Natural logarithm of how much less likely than the likeliest token a candidate may be, at first.
constexpr float kFirstDistance = 9.0f;

float largest_of(const float* x, int64_t begin, int64_t end) {
  Vec peaks = splat<Vec>(-kInfinity);
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) peaks = max_of(load(x + i), peaks);
  float largest = max_lanes(peaks);
  for (; i < end; i++) largest = max_of(x[i], largest);
  return largest;
}

// Calls found(i) for every i in begin..end with x[i] >= least, in order.
template <typename Found>
void find_at_least(const float* x, int64_t begin, int64_t end, float least, const Found& found) {
  const Vec bound = splat<Vec>(least);
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    if (!any_lane(load(x + i) >= bound)) continue;
    for (int lane = 0; lane < kLanes; lane++)
      if (x[i + lane] >= least) found(i + lane);
  }
  for (; i < end; i++)
    if (x[i] >= least) found(i);
}

}  // namespace

class SdaSampleOp : public SampleKernel {
 public:
  using SampleKernel::SampleKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const SampleSettings& settings, const Draws& draws) const override {
    const auto& [log_probs, x, all_stats, uniforms, B, S, V, draw] = draws;
    for (int64_t q = 0; q < B; q++) {
      const float* line = log_probs + q * V;
      const float* stats = all_stats + q * kStatsWidth;
      const int64_t id = choose(ctx, settings, line, V, uniforms[q]);
      float* out = draw + q * kDrawWidth;
      out[0] = static_cast<float>(id);
      out[1] = line[id];
      out[2] = x[q * S * V + id] - stats[2];
      out[3] = x[((q + 1) * S - 1) * V + id] - stats[3];
      std::copy_n(stats, 2, out + 4);
      std::copy_n(stats + 4, 2, out + 6);
    }
    return absl::OkStatus();
  }

  static int64_t choose(OpKernelContext* ctx, const SampleSettings& settings, const float* line, int64_t V,
                        double u) {
    const Cuts cuts = {settings.top_k, settings.top_p, settings.min_p};
    const int64_t blocks = (V + kBlock - 1) / kBlock;
    std::vector<float> peaks(blocks);
    each_block(ctx, V, blocks, [&](int64_t b, int64_t begin, int64_t end) {
      peaks[b] = largest_of(line, begin, end);
    });
    const float largest = *std::max_element(peaks.begin(), peaks.end());
    if (!(std::abs(largest) < kInfinity)) return 0;  // nothing to draw from
    if (settings.greedy) {
      const int64_t b = std::find(peaks.begin(), peaks.end(), largest) - peaks.begin();
      return std::find(line + b * kBlock, line + V, largest) - line;
    }
    if (!cuts.any()) return draw_from_all(ctx, line, V, blocks, largest, u);

    const double all_mass = std::exp(-static_cast<double>(largest));  // log P' is normalised
    for (float distance = kFirstDistance;; distance *= 2.0f) {
      // past float32's range of exp every possible token is a candidate
      const bool complete = distance > 100.0f;
      const float least = complete ? -std::numeric_limits<float>::max() : largest - distance;
      std::vector<std::vector<Candidate>> found(blocks);
      each_block(ctx, V, blocks, [&](int64_t b, int64_t begin, int64_t end) {
        if (peaks[b] < least) return;
        find_at_least(line, begin, end, least, [&](int64_t id) {
          const double mass = std::exp(static_cast<double>(line[id]) - largest);
          found[b].push_back({line[id], static_cast<int32_t>(id), mass});
        });
      });
      std::vector<Candidate> candidates;
      for (const auto& part : found) candidates.insert(candidates.end(), part.begin(), part.end());
      const Cut cut = apply_cuts(candidates, complete, all_mass, cuts);
      if (cut.certain) return draw_among(candidates, cut.last, u).id;
    }
  }

  // Without cuts: the block in which the draw falls by the blocks' masses, then the token in it.
  static int64_t draw_from_all(OpKernelContext* ctx, const float* line, int64_t V, int64_t blocks,
                               float largest, double u) {
    const auto mass_of = [&](int64_t id) {
      return static_cast<double>(exp_fast(line[id] - largest));
    };
    std::vector<double> masses(blocks);
    each_block(ctx, V, blocks, [&](int64_t b, int64_t begin, int64_t end) {
      for (int64_t id = begin; id < end; id++) masses[b] += mass_of(id);
    });
    double total = 0.0;
    for (double mass : masses) total += mass;
    double cumulative = 0.0;
    int64_t chosen = 0;
    for (int64_t b = 0; b < blocks; b++) {
      if (masses[b] == 0.0) continue;
      if (cumulative + masses[b] <= u * total && b + 1 < blocks) {
        cumulative += masses[b];
        chosen = std::min((b + 1) * kBlock, V) - 1;
        continue;
      }
      for (int64_t id = b * kBlock; id < std::min((b + 1) * kBlock, V); id++) {
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

  template <typename Work>
  static void each_block(OpKernelContext* ctx, int64_t V, int64_t blocks, const Work& work) {
    parallel_for(ctx, blocks, 8, [&](int64_t first, int64_t last) {
      for (int64_t b = first; b < last; b++) work(b, b * kBlock, std::min((b + 1) * kBlock, V));
    });
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaSample").Device(tensorflow::DEVICE_CPU), SdaSampleOp);
SDA_OPERATION(SdaSample);

}  // namespace sda
