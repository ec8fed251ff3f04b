// SdaStep: combines the next-token distributions of S streams into one (math.h), for B queries.
//
//   logits [S B, V] float32, S = 1..8 lines a query; numbers [B, 9 + S]: see kinds.h; least [B], of a mask by logits
//   log_probs [B, V]: log P';  stats [B, 4 + S], or [B, 7 + 3 S] with details: see kinds.h
//
// Fused: log-softmax of all streams, divergence, score, mask, temperature, final log-softmax. Four passes, split over all
// threads in blocks of kBlock tokens:
//   1. the streams' sums of exponentials, relative to each block's largest logit; the pair's are kept
//   2. the pair's P by one multiplication each, the terms of JS; the score and its mask
//   3. the sum of exp(score / T)
//   4. log P' = score / T - log(sum)
// Where JS decides the weights, pass 2 is two; a temperature by entropy takes another one before pass 3, and details two.
// Bytes per query and token of two streams: 8 (logits) + 8 (exponentials) written, 16 read again, 4 written, 8 read, 4
// written: 48, of which 8 + 4 must touch memory and the rest lives in the caches. 2 to 3 exponentials per token.
// Block sums are combined in a fixed order in float64: the result does not depend on the number of threads.

#include <vector>

#include "../op.h"
#include "details.h"
#include "kernel.h"

namespace sda {

REGISTER_OP("SdaStep")
    .Input("logits: float")
    .Input("numbers: float")
    .Input("least: float")
    .Output("log_probs: float")
    .Output("stats: float")
    .Attr("kinds: list(int)")  // see kinds.h; an attribute for each would cost a call a microsecond or two more
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle logits, numbers;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &logits));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &numbers));
      c->set_output(0, c->Matrix(c->Dim(numbers, 0), c->Dim(logits, 1)));
      c->set_output(1, c->Matrix(c->Dim(numbers, 0), c->UnknownDim()));
      return absl::OkStatus();
    });

class SdaStepOp : public StepKernel {
 public:
  using StepKernel::StepKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const StepKinds& kinds, const Step& step) const override {
    const int64_t pairs = kinds.pair[0] == kinds.pair[1] ? 0 : 2;
    Tensor exponentials;
    TF_RETURN_IF_ERROR(ctx->allocate_temp(DT_FLOAT, TensorShape({step.B * pairs, step.V}), &exponentials));
    Work work(ctx, kinds, step, pairs > 0 ? exponentials.flat<float>().data() : nullptr);
    work.sum_streams();
    if (kinds.js_weights && work.e) work.measure_divergence();
    work.make_scores();
    work.set_temperatures();
    work.normalise_all();
    work.write();
    return absl::OkStatus();
  }

  // One call, pass by pass.
  struct Work {
    OpKernelContext* const ctx;
    const StepKinds& kinds;
    const Step& step;
    float* const e;  // [2 B, V]: exponentials of the pair of streams, null where it is one stream twice
    const int64_t B = step.B, S = step.S, V = step.V, blocks = (V + kBlock - 1) / kBlock;
    const int64_t numbers_width = step_numbers_width(S), stats_width = step_stats_width(S, kinds.details);
    std::vector<StreamBlock> streams = std::vector<StreamBlock>(B * S * blocks);
    std::vector<QueryBlock> parts = std::vector<QueryBlock>(B * blocks);
    std::vector<Query> queries = std::vector<Query>(B);
    std::vector<Blend> blends = std::vector<Blend>(B);

    Work(OpKernelContext* ctx, const StepKinds& kinds, const Step& step, float* e)
        : ctx(ctx), kinds(kinds), step(step), e(e) {}

    const float* numbers(int64_t q) const { return step.numbers + q * numbers_width; }
    const float* logits(int64_t q) const { return step.logits + q * S * V; }
    float* score_line(int64_t q) const { return step.log_probs + q * V; }

    float* exponentials_of(int64_t line) const {
      for (int i = 0; i < 2; i++)
        if (e && line % S == kinds.pair[i]) return e + (line / S * 2 + i) * V;
      return nullptr;
    }

    Pair pair_of(int64_t q, int64_t b) const {
      const StreamBlock* of = &streams[q * S * blocks + b];
      const auto [one, two] = kinds.pair;
      return {e + 2 * q * V, e + (2 * q + 1) * V, scale_of(queries[q], one, of[one * blocks]),
              scale_of(queries[q], two, of[two * blocks])};
    }

    void sum_streams() {
      each_block(B * S, [&](int64_t line, int64_t b, int64_t begin, int64_t end) {
        streams[line * blocks + b] = exponentials(step.logits + line * V, begin, end, exponentials_of(line));
      });
      for (int64_t q = 0; q < B; q++) combine_streams(&streams[q * S * blocks], S, blocks, queries[q]);
    }

    void measure_divergence() {
      each_sound_block([&](int64_t q, int64_t b, int64_t begin, int64_t end) {
        parts[q * blocks + b] = divergence(pair_of(q, b), begin, end);
      });
      for (int64_t q = 0; q < B; q++) combine_divergence(&parts[q * blocks], blocks, queries[q]);
    }

    void make_scores() {
      const bool measures = e && !kinds.js_weights;
      for (int64_t q = 0; q < B; q++) {
        if (queries[q].bad_stream >= 0) continue;
        const float* least = step.least ? step.least + q : nullptr;
        blends[q] = blend_of(kinds, queries[q], numbers(q), logits(q), S, V, least);
      }
      each_sound_block([&](int64_t q, int64_t b, int64_t begin, int64_t end) {
        const Pair pair = measures ? pair_of(q, b) : Pair{};
        parts[q * blocks + b] = score(blends[q], measures ? &pair : nullptr, begin, end, score_line(q));
      });
      for (int64_t q = 0; q < B; q++) {
        if (queries[q].bad_stream >= 0) continue;
        if (measures) combine_divergence(&parts[q * blocks], blocks, queries[q]);
        combine_scores(&parts[q * blocks], blocks, S, queries[q]);
      }
    }

    void set_temperatures() {
      if (kinds.temperature == Temperature::kEntropy || kinds.details) measure_entropies();
      for (int64_t q = 0; q < B; q++) {
        const float* of = numbers(q);
        queries[q].temperature =
            kinds.temperature == Temperature::kDivergence ? temperature_of(queries[q].js, of[kT0], of[kSigma], of[kTMin])
            : kinds.temperature == Temperature::kEntropy  ? temperature_by_entropy(queries[q].score_entropy, of)
                                                          : at_least(of[kT0], 0.0);
      }
    }

    void measure_entropies() {
      std::vector<ScoreSums> sums(B * blocks);
      each_sound_block([&](int64_t q, int64_t b, int64_t begin, int64_t end) {
        sums[q * blocks + b] = score_sums(queries[q], score_line(q), begin, end);
      });
      for (int64_t q = 0; q < B; q++) {
        ScoreSums all;
        for (int64_t b = 0; b < blocks; b++) {
          all.mass += sums[q * blocks + b].mass;
          all.weighted += sums[q * blocks + b].weighted;
        }
        if (queries[q].bad_stream < 0) queries[q].score_entropy = entropy_of(all.mass, all.weighted);
      }
    }

    void normalise_all() {
      std::vector<double> sums(B * blocks);
      each_sound_block([&](int64_t q, int64_t b, int64_t begin, int64_t end) {
        sums[q * blocks + b] = tempered_sum(queries[q], score_line(q), begin, end);
      });
      for (int64_t q = 0; q < B; q++)
        for (int64_t b = 0; b < blocks; b++) queries[q].final_sum += sums[q * blocks + b];
      each_block(B, [&](int64_t q, int64_t, int64_t begin, int64_t end) {
        normalise(queries[q], begin, end, score_line(q));
      });
    }

    void write() {
      for (int64_t q = 0; q < B; q++) write_stats(queries[q], S, step.stats + q * stats_width);
      if (!kinds.details) return;
      std::vector<DetailBlock> details(B * blocks);
      each_sound_block([&](int64_t q, int64_t b, int64_t begin, int64_t end) {
        details[q * blocks + b] = describe(queries[q], blends[q], logits(q), S, V, kinds.mask_stream, begin, end);
      });
      for (int64_t q = 0; q < B; q++)
        write_details(queries[q], blends[q], &details[q * blocks], blocks, kinds, numbers(q), S,
                      step.stats + q * stats_width);
    }

    // Calls work(line, block, begin, end) for every block of every line, in parallel.
    template <typename Visit>
    void each_block(int64_t lines, const Visit& visit) const {
      parallel_for(ctx, lines * blocks, 4, [&](int64_t first, int64_t last) {
        for (int64_t item = first; item < last; item++) {
          const int64_t begin = item % blocks * kBlock;
          visit(item / blocks, item % blocks, begin, std::min(begin + kBlock, V));
        }
      });
    }

    // The same, of the queries without an unusable stream.
    template <typename Visit>
    void each_sound_block(const Visit& visit) const {
      each_block(B, [&](int64_t q, int64_t b, int64_t begin, int64_t end) {
        if (queries[q].bad_stream < 0) visit(q, b, begin, end);
      });
    }
  };
};

REGISTER_KERNEL_BUILDER(Name("SdaStep").Device(tensorflow::DEVICE_CPU), SdaStepOp);
SDA_OPERATION(SdaStep);

}  // namespace sda
