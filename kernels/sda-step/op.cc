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

#include "../op.h"
#include <vector>

#include "math.h"

namespace sda {

constexpr int64_t kStats = 6;

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

namespace {

// Tokens that a thread takes at a time: their exponentials stay in its first-level cache.
constexpr int64_t kBlock = 2048;
// Vectors summed in float32 before they are added to a float64 sum.
constexpr int64_t kPartial = 16 * kLanes;

// P1 + P2 below which a token is left out of JS, and (log P - largest) / T below which it is left out of the final
// sum, where that holds for a whole vector. Over 200,000 tokens that is at most 7e-8 nats and 2e-8.
constexpr float kLeastMass = 1e-12f;
constexpr float kLeastExponent = -30.0f;

bool any(VecI mask) { return any_lane(mask); }

// What a block says of one stream in pass 1.
struct StreamBlock {
  float largest = -kInfinity;
  double sum = 0.0;        // of exp(logit - shift), shift = largest or 0 where all are -Infinity
  int64_t bad_token = -1;  // the first NaN or +Infinity
};

// What a block says of a query in passes 2 and 3.
struct QueryBlock {
  double js = 0.0;
  float largest = -kInfinity;  // of the steered log-probabilities
  double sum = 0.0;
};

// What is known of one query between the passes.
struct Query {
  int bad_stream = -1;
  int64_t bad_token = -1;
  float largest[2];
  double sum[2];
  float log_sum[2];  // log P = (logit - largest) - log_sum
  double js = 0.0, temperature = 0.0, final_sum = 0.0;
  float steered_largest = -kInfinity;
};

// Calls step(i, n) over begin..end: n = kLanes but for the last part. flush() after every kPartial values.
template <typename Step, typename Flush>
inline void for_vectors(int64_t begin, int64_t end, const Step& step, const Flush& flush) {
  for (int64_t part = begin; part < end; part += kPartial) {
    const int64_t stop = std::min(part + kPartial, end);
    int64_t i = part;
    for (; i + kLanes <= stop; i += kLanes) step(i, static_cast<int64_t>(kLanes));
    if (i < stop) step(i, stop - i);
    flush();
  }
}

inline Vec load_some(const float* p, int64_t n, float fill) {
  return n == kLanes ? load(p) : load_part(p, n, fill);
}
inline void store_some(float* p, Vec v, int64_t n) {
  if (n == kLanes) {
    store(p, v);
  } else {
    store_part(p, v, n);
  }
}

int64_t first_bad(const float* x, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++)
    if (x[i] != x[i] || x[i] == kInfinity) return i;
  return -1;
}

StreamBlock exponentials(const float* x, int64_t begin, int64_t end, float* e) {
  StreamBlock block;
  Vec peaks = splat<Vec>(-kInfinity);
  VecI bad = {};
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        const Vec v = load_some(x + i, n, -kInfinity);
        bad |= (v != v) | (v == splat<Vec>(kInfinity));
        peaks = max_of(v, peaks);
      },
      [] {});
  if (any(bad)) {
    block.bad_token = first_bad(x, begin, end);
    return block;
  }
  block.largest = max_lanes(peaks);
  const float shift = block.largest > -kInfinity ? block.largest : 0.0f;
  Vec sums = {};
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        const Vec v = exp_fast(load_some(x + i, n, -kInfinity) - shift);
        store_some(e + i, v, n);
        sums += v;
      },
      [&] {
        block.sum += sum_lanes(sums);
        sums = Vec{};
      });
  return block;
}

}  // namespace

class SdaStepOp : public OpKernel {
 public:
  explicit SdaStepOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("t0", &t0_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("sigma", &sigma_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("t_min", &t_min_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("plausibility", &plausibility_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("base", &base_));
    OP_REQUIRES(ctx, t0_ > 0.0f && sigma_ > 0.0f && t_min_ >= 0.0f && plausibility_ >= 0.0f &&
                         plausibility_ <= 1.0f,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaStep: t0 and sigma must be above 0, t_min at least 0 and plausibility in 0..1, "
                    "but they are ", t0_, ", ", sigma_, ", ", t_min_, ", ", plausibility_, ".")));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& logits = ctx->input(0);
    const Tensor& strength = ctx->input(1);
    OP_REQUIRES_OK(ctx, check_shape("SdaStep", "strength", strength, {-1}));
    const int64_t B = strength.dim_size(0);
    OP_REQUIRES_OK(ctx, check_shape("SdaStep", "logits", logits, {-1, -1}));
    const int64_t V = logits.dim_size(1);
    const int64_t S = B > 0 ? logits.dim_size(0) / B : 0;
    OP_REQUIRES(ctx, V > 0 && (S == 1 || S == 2) && logits.dim_size(0) == S * B,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaStep: logits must have the shape [", B, " or ", 2 * B, ", V] with V > 0 for ", B,
                    " queries, but have ", logits.shape().DebugString(), ".")));
    Tensor *log_probs = nullptr, *stats = nullptr, scratch;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({B, V}), &log_probs));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(1, TensorShape({B, kStats}), &stats));
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, TensorShape({B * S, V}), &scratch));

    const float* x = logits.flat<float>().data();
    const float* ka = strength.flat<float>().data();
    float* e = scratch.flat<float>().data();
    float* y = log_probs->flat<float>().data();
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
      parts[q * blocks + b] = steer(queries[q], *first, first[(S - 1) * blocks], x + q * S * V,
                                    x + ((q + 1) * S - 1) * V, e + q * S * V,
                                    e + ((q + 1) * S - 1) * V, ka[q], begin, end, y + q * V);
    });
    for (int64_t q = 0; q < B; q++) combine_parts(&parts[q * blocks], blocks, queries[q]);

    each_block(ctx, B, V, blocks, [&](int64_t q, int64_t b, int64_t begin, int64_t end) {
      if (queries[q].bad_stream < 0)
        parts[q * blocks + b].sum = tempered_sum(queries[q], y + q * V, begin, end);
    });
    for (int64_t q = 0; q < B; q++)
      for (int64_t b = 0; b < blocks; b++) queries[q].final_sum += parts[q * blocks + b].sum;

    each_block(ctx, B, V, blocks, [&](int64_t q, int64_t, int64_t begin, int64_t end) {
      normalise(queries[q], begin, end, y + q * V);
    });
    float* out = stats->flat<float>().data();
    for (int64_t q = 0; q < B; q++) write_stats(queries[q], S, out + q * kStats);
  }

 private:
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

  static void combine_streams(const StreamBlock* block, int64_t S, int64_t blocks, Query& query) {
    for (int64_t s = 0; s < S; s++) {
      float largest = -kInfinity;
      int64_t bad_token = -1;
      for (int64_t b = 0; b < blocks; b++) {
        largest = std::max(largest, block[s * blocks + b].largest);
        if (bad_token < 0) bad_token = block[s * blocks + b].bad_token;
      }
      if (bad_token >= 0 || largest == -kInfinity) {
        query.bad_stream = static_cast<int>(s);
        query.bad_token = bad_token;
        return;
      }
      double sum = 0.0;
      for (int64_t b = 0; b < blocks; b++) {
        const StreamBlock& part = block[s * blocks + b];
        if (part.sum > 0.0) sum += part.sum * std::exp(static_cast<double>(part.largest) - largest);
      }
      query.largest[s] = largest;
      query.sum[s] = sum;
      query.log_sum[s] = static_cast<float>(std::log(sum));
    }
    if (S == 1) {
      query.largest[1] = query.largest[0];
      query.sum[1] = query.sum[0];
      query.log_sum[1] = query.log_sum[0];
    }
  }

  // Probability = exponential of the block * scale.
  static float scale_of(const Query& query, int s, const StreamBlock& block) {
    if (block.largest == -kInfinity) return 0.0f;
    return static_cast<float>(std::exp(static_cast<double>(block.largest) - query.largest[s]) /
                              query.sum[s]);
  }

  QueryBlock steer(const Query& query, const StreamBlock& block1, const StreamBlock& block2,
                   const float* x1, const float* x2, const float* e1, const float* e2,
                   float strength, int64_t begin, int64_t end, float* y) const {
    const float scale1 = scale_of(query, 0, block1), scale2 = scale_of(query, 1, block2);
    const Vec masked = splat<Vec>(-kInfinity);
    // log P2 of the likeliest instructed token is -log_sum
    const float least = plausibility_ > 0.0f ? std::log(plausibility_) - query.log_sum[1] : -kInfinity;
    QueryBlock part;
    Vec js = {}, peaks = masked;
    for_vectors(
        begin, end,
        [&](int64_t i, int64_t n) {
          const Vec p1 = load_some(e1 + i, n, 0.0f) * scale1;
          const Vec p2 = load_some(e2 + i, n, 0.0f) * scale2;
          if (any(p1 + p2 > splat<Vec>(kLeastMass))) js += js_term(p1, p2, any);
          const Vec log_p1 = (load_some(x1 + i, n, -kInfinity) - query.largest[0]) - query.log_sum[0];
          const Vec log_p2 = (load_some(x2 + i, n, -kInfinity) - query.largest[1]) - query.log_sum[1];
          Vec log_p = base_ ? log_p1 : steered_log_prob(log_p1, log_p2, strength);
          if (plausibility_ > 0.0f) log_p = select(log_p2 >= splat<Vec>(least), log_p, masked);
          peaks = max_of(log_p, peaks);
          store_some(y + i, log_p, n);
        },
        [&] {
          part.js += sum_lanes(js);
          js = Vec{};
        });
    part.largest = max_lanes(peaks);
    return part;
  }

  void combine_parts(const QueryBlock* part, int64_t blocks, Query& query) const {
    if (query.bad_stream >= 0) return;
    double js = 0.0;
    for (int64_t b = 0; b < blocks; b++) {
      js += part[b].js;
      query.steered_largest = std::max(query.steered_largest, part[b].largest);
    }
    query.js = std::min(std::max(js, 0.0), 0.693147180559945309);
    query.temperature = temperature_of(query.js, t0_, sigma_, t_min_);
    // no token is left, or the strength overflowed
    if (!(std::abs(query.steered_largest) < kInfinity)) query.bad_stream = 1;
  }

  static double tempered_sum(const Query& query, const float* y, int64_t begin, int64_t end) {
    const float inverse = static_cast<float>(1.0 / query.temperature);
    double sum = 0.0;
    Vec sums = {};
    for_vectors(
        begin, end,
        [&](int64_t i, int64_t n) {
          const Vec v = (load_some(y + i, n, -kInfinity) - query.steered_largest) * inverse;
          if (any(v > splat<Vec>(kLeastExponent))) sums += exp_fast(v);
        },
        [&] {
          sum += sum_lanes(sums);
          sums = Vec{};
        });
    return sum;
  }

  static void normalise(const Query& query, int64_t begin, int64_t end, float* y) {
    if (query.bad_stream >= 0) {
      std::fill(y + begin, y + end, 0.0f);
      return;
    }
    const float inverse = static_cast<float>(1.0 / query.temperature);
    const float log_sum = static_cast<float>(std::log(query.final_sum));
    for_vectors(
        begin, end,
        [&](int64_t i, int64_t n) {
          const Vec log_p = load_some(y + i, n, -kInfinity);
          store_some(y + i, (log_p - query.steered_largest) * inverse - log_sum, n);
        },
        [] {});
  }

  static void write_stats(const Query& query, int64_t S, float* out) {
    const bool sound = query.bad_stream < 0;
    out[0] = sound ? static_cast<float>(query.js) : 0.0f;
    out[1] = sound ? static_cast<float>(query.temperature) : 0.0f;
    for (int s = 0; s < 2; s++)
      out[2 + s] = sound ? static_cast<float>(query.largest[s] + std::log(query.sum[s])) : 0.0f;
    out[4] = static_cast<float>(query.bad_stream);
    out[5] = static_cast<float>(query.bad_token);
  }

  float t0_, sigma_, t_min_, plausibility_;
  bool base_;
};

REGISTER_KERNEL_BUILDER(Name("SdaStep").Device(tensorflow::DEVICE_CPU), SdaStepOp);
SDA_OPERATION(SdaStep);

}  // namespace sda
