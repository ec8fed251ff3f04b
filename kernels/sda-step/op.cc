// SdaStep: eqs 4-8 of the SDA paper (math.h) for B queries, from logits to log P'.
//
//   logits [S B, V] float32, S = 2 (base and instructed lines in turn) or 1 (one line serves as both);
//   strength [B]: k a;  log_probs [B, V];  stats [B, 6]: JS, T, log Z of each stream, first unusable logit
//
// Fused: log-softmax of both streams, steering, divergence, temperature, final log-softmax. Four passes, split
// over all threads in blocks of kBlock tokens:
//   1. the streams' exponentials, relative to each block's largest logit (kept), and their sums
//   2. P1, P2 by one multiplication each; the terms of JS; the steered log-probabilities
//   3. the sum of exp(log P / T)
//   4. log P' = log P / T - log(sum)
// Bytes per query and token: 8 (logits) + 8 (exponentials) written, 16 read again, 4 written, 8 read, 4 written:
// 48, of which 8 + 4 must touch memory and the rest lives in the caches. 2 to 3 exponentials per token.
// Block sums are combined in a fixed order in float64: the result does not depend on the number of threads.

#include <vector>

#include "../op.h"
#include "kernel.h"
#include "passes.h"

namespace sda {

REGISTER_OP("SdaStep")
    .Input("logits: float")
    .Input("strength: float")
    .Output("log_probs: float")
    .Output("stats: float")
    .Attr("t0: float")
    .Attr("sigma: float")
    .Attr("t_min: float")
    .Attr("plausibility: float")
    .Attr("base: bool")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle logits, strength;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &logits));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &strength));
      c->set_output(0, c->Matrix(c->Dim(strength, 0), c->Dim(logits, 1)));
      c->set_output(1, c->Matrix(c->Dim(strength, 0), kStats));
      return absl::OkStatus();
    });

class SdaStepOp : public StepKernel {
 public:
  using StepKernel::StepKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const StepSettings& settings, const Step& step) const override {
    const auto& [x, ka, B, S, V, y, out] = step;
    Tensor scratch;
    TF_RETURN_IF_ERROR(ctx->allocate_temp(DT_FLOAT, TensorShape({B * S, V}), &scratch));
    float* e = scratch.flat<float>().data();
    const int64_t blocks = (V + kBlock - 1) / kBlock;
    std::vector<StreamBlock> streams(B * S * blocks);
    std::vector<QueryBlock> parts(B * blocks);
    std::vector<Query> queries(B);

    each_block(ctx, B * S, V, blocks, [&](int64_t line, int64_t b, int64_t begin, int64_t end) {
      streams[line * blocks + b] = exponentials(x + line * V, begin, end, e + line * V);
    });
    for (int64_t q = 0; q < B; q++) combine_streams(&streams[q * S * blocks], S, blocks, queries[q]);

    each_block(ctx, B, V, blocks, [&](int64_t q, int64_t b, int64_t begin, int64_t end) {
      if (queries[q].bad_stream >= 0) return;
      const StreamBlock* first = &streams[q * S * blocks + b];
      parts[q * blocks + b] = steer(settings, queries[q], *first, first[(S - 1) * blocks], x + q * S * V,
                                    x + ((q + 1) * S - 1) * V, e + q * S * V,
                                    e + ((q + 1) * S - 1) * V, ka[q], begin, end, y + q * V);
    });
    for (int64_t q = 0; q < B; q++) combine_parts(settings, &parts[q * blocks], blocks, queries[q]);

    each_block(ctx, B, V, blocks, [&](int64_t q, int64_t b, int64_t begin, int64_t end) {
      if (queries[q].bad_stream < 0)
        parts[q * blocks + b].sum = tempered_sum(queries[q], y + q * V, begin, end);
    });
    for (int64_t q = 0; q < B; q++)
      for (int64_t b = 0; b < blocks; b++) queries[q].final_sum += parts[q * blocks + b].sum;

    each_block(ctx, B, V, blocks, [&](int64_t q, int64_t, int64_t begin, int64_t end) {
      normalise(queries[q], begin, end, y + q * V);
    });
    for (int64_t q = 0; q < B; q++) write_stats(queries[q], S, out + q * kStats);
    return absl::OkStatus();
  }

  // Calls work(line, block, begin, end) for every block of every line, in parallel.
  template <typename Work>
  static void each_block(OpKernelContext* ctx, int64_t lines, int64_t V, int64_t blocks,
                         const Work& work) {
    parallel_for(ctx, lines * blocks, 4, [&](int64_t first, int64_t last) {
      for (int64_t item = first; item < last; item++) {
        const int64_t begin = item % blocks * kBlock;
        work(item / blocks, item % blocks, begin, std::min(begin + kBlock, V));
      }
    });
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaStep").Device(tensorflow::DEVICE_CPU), SdaStepOp);
SDA_OPERATION(SdaStep);

}  // namespace sda
