// A step that combines streams (math.h) on an NVIDIA GPU: op.cc says what it computes.
//
// Tokens are split into tiles of kTile, a block a tile and query. Four launches, each of which first combines what the
// tiles of the launch before said, every block for itself and in a fixed order:
//   1. stream_tiles   each stream's largest logit and sum of exponentials
//   2. score_tiles    the terms of JS; the score and its mask, written to log_probs
//   3. temper_tiles   T; the sum of exp(score / T)
//   4. normalise      log P' = score / T - log(sum); statistics
// Where JS decides the weights, divergence_tiles comes before 2; a temperature by entropy takes entropy_tiles before 3,
// and details two launches more (cuda_details.h).
// Bytes per query and token of two streams: 8 read, 8 read and 4 written, 4 read, 4 read and 4 written: 32, of which 8 + 4
// must touch device memory; the rest stays in the second-level cache. Sums over tiles are float64: no atomics.
//
// With about one tile a multiprocessor, a launch takes as long as its longest chain: the launch before, a load, the
// warp that combines the tiles (of score_tiles one a stream), two barriers. Tokens are loaded before that; log and exp2
// in float64 are left to that warp. No load waits for another: of a query with an unusable stream, what was not written
// is combined too, and not used. Of many queries a block takes several tiles, one after another and the next one's
// tokens loaded ahead, so that all blocks run at once. A tile's numbers do not depend on which block has it.

#include "cuda.h"

#include "cuda_details.h"
#include "cuda_score.h"

namespace sda {
namespace cuda {
namespace {

using namespace stepping;

constexpr int kAtOnce = 4;  // blocks of a multiprocessor: their registers leave room for that

__global__ void __launch_bounds__(kThreads, kAtOnce)
    stream_tiles(const float* logits, Lines lines, StreamPart* out) {
  __shared__ StreamPart parts[2][kWarps];
  await_previous();
  const int64_t line = blockIdx.y;
  const auto load = [&](int tile) { return load_tokens(logits + line * lines.V, tile, lines, -kInfinity); };
  for_tiles(lines.tiles, load(blockIdx.x), load, [&](int tile, const Tokens& tokens, bool odd) {
    float x[kPerThread], largest = -kInfinity;
    int bad = kNone;
    for (int j = kPerThread - 1; j >= 0; j--) {
      x[j] = tokens.x[j];
      if (x[j] != x[j] || x[j] == kInfinity) bad = static_cast<int>(first_token(tile)) + j, x[j] = -kInfinity;
      largest = max_of(largest, x[j]);
    }
    largest = reduce_warp(largest, Largest());
    const float shift = largest > -kInfinity ? largest : 0.0f;
    float sum = 0.0f;
    for (float each : x) sum += exp_fast(each - shift);
    const double total = reduce_warp(static_cast<double>(sum), Sum());
    bad = reduce_warp(bad, Least());
    if (lane() == 0) parts[odd][warp()] = {total, largest, bad};
    __syncthreads();
    if (warp() > 0) return;
    const StreamPart whole = combine<1>(parts[odd], kWarps);
    if (lane() == 0) out[line * lines.tiles + tile] = whole;
  });
}

// temperature_of(js, ...), where its pow is costly; per_sigma = 1 / sigma. JS 0 or sigma = Infinity gives max(Tmin, T0)
// exactly here too.
__device__ double temperature_by_divergence(double js, double per_sigma, const float* numbers) {
  return at_least(numbers[kT0] * exp2(-js * per_sigma), numbers[kTMin]);
}

__global__ void __launch_bounds__(kThreads, kAtOnce)
    temper_tiles(StepInput in, Scratch scratch, const float* log_probs) {
  __shared__ float found_largest, found_inverse;
  __shared__ double sums[2][kWarps];
  await_previous();
  const int64_t q = blockIdx.y;
  const Lines lines = in.lines;
  const int tiles = lines.tiles;
  Query& query = scratch.queries[q];
  const int bad_stream = query.bad_stream;
  const auto load = [&](int tile) { return load_tokens(log_probs + q * lines.V, tile, lines, -kInfinity); };
  const Tokens begin = load(blockIdx.x);
  if (warp() == 0) {
    const float* numbers = in.numbers_of(q);
    const double per_sigma = 1.0 / numbers[kSigma];
    const QueryPart all = combine(scratch.parts + q * tiles, tiles);
    const double js = in.kinds.js_weights ? query.js : clamped_js(all.js);
    const bool by_entropy = in.kinds.temperature == Temperature::kEntropy;
    const double entropy = by_entropy || in.kinds.details ? entropy_of(scratch.scores + q * tiles, tiles) : 0.0;
    const double temperature = in.kinds.temperature == Temperature::kDivergence
                                   ? temperature_by_divergence(js, per_sigma, numbers)
                               : by_entropy ? temperature_by_entropy(entropy, numbers)
                                            : at_least(numbers[kT0], 0.0);
    const float inverse = static_cast<float>(1.0 / temperature);
    if (lane() == 0) found_largest = all.largest, found_inverse = inverse;
    if (blockIdx.x == 0 && lane() == 0) {
      query.js = static_cast<float>(js);
      query.temperature = static_cast<float>(temperature);
      query.inverse = inverse;
      query.largest = all.largest;
      query.entropy = static_cast<float>(entropy);
      // no token is left, or a weight overflowed
      query.unusable = bad_stream >= 0 ? bad_stream : fabsf(all.largest) < kInfinity ? -1 : in.S;
    }
  }
  if (bad_stream >= 0) return;
  __syncthreads();
  const float largest = found_largest, inverse = found_inverse;
  for_tiles(tiles, begin, load, [&](int tile, const Tokens& tokens, bool odd) {
    float sum = 0.0f;
    for (float each : tokens.x) {
      const float v = (each - largest) * inverse;
      if (v > kLeastExponent) sum += exp_fast(v);
    }
    const double of_warp = reduce_warp(static_cast<double>(sum), Sum());
    if (lane() == 0) sums[odd][warp()] = of_warp;
    __syncthreads();
    if (warp() > 0) return;
    const double total = sum_of_warps(sums[odd]);
    if (lane() == 0) scratch.sums[q * tiles + tile] = total;
  });
}

__global__ void __launch_bounds__(kThreads, kAtOnce)
    normalise(StepInput in, Scratch scratch, float* log_probs, float* stats) {
  __shared__ float found_log_sum;
  await_previous();
  const int64_t q = blockIdx.y;
  const Lines lines = in.lines;
  const int tiles = lines.tiles;
  const Query& query = scratch.queries[q];
  const float largest = query.largest, inverse = query.inverse;
  const bool sound = query.unusable < 0;
  const auto load = [&](int tile) { return load_tokens(log_probs + q * lines.V, tile, lines, 0.0f); };
  const Tokens begin = load(blockIdx.x);
  if (warp() == 0) {
    const double sum = sum_of_tiles(scratch.sums + q * tiles, tiles);
    if (lane() == 0) found_log_sum = static_cast<float>(log(sum));
  }
  __syncthreads();
  const float log_sum = sound ? found_log_sum : 0.0f;
  for_tiles(tiles, begin, load, [&](int tile, const Tokens& tokens, bool) {
    float y[kPerThread];
    for (int j = 0; j < kPerThread; j++) y[j] = sound ? (tokens.x[j] - largest) * inverse - log_sum : 0.0f;
    store_four(log_probs + q * lines.V, first_token(tile), lines.V, lines.fours, y);
  });
  const int i = static_cast<int>(threadIdx.x);
  if (blockIdx.x > 0 || i >= kLogZ + in.S) return;
  float* const out = stats + q * step_stats_width(in.S, in.kinds.details);
  out[i] = i == kBadStream  ? static_cast<float>(query.unusable)
           : i == kBadToken ? static_cast<float>(query.bad_token)
           : !sound         ? 0.0f
           : i == kJs       ? query.js
           : i == kTemperature ? query.temperature
                               : query.log_z[i - kLogZ];
}

}  // namespace

size_t step_scratch_bytes(int64_t B, int64_t S, int64_t V, bool details) {
  const int64_t tiles = ceil_div(V, kTile);
  const size_t of_tile = S * sizeof(StreamPart) + sizeof(QueryPart) + sizeof(ScorePart) + sizeof(double) +
                         (details ? sizeof(DetailPart) : 0);
  return B * (sizeof(Query) + tiles * of_tile);
}

void step(const StepKinds& kinds, const float* logits, const float* numbers, const float* least, int64_t B, int64_t S,
          int64_t V, float* log_probs, float* stats, void* scratch, cudaStream_t stream) {
  const Lines lines = {V, ceil_div(V, kTile), in_fours(logits, V) && in_fours(log_probs, V)};
  const Scratch parts = layout(scratch, B, S, lines.tiles, kinds.details);
  const StepInput in = {kinds, logits, numbers, least, static_cast<int>(S), lines};
  const auto grid = [&](int64_t of, int at_once) {
    return dim3(blocks_of(lines.tiles, of, at_once), static_cast<unsigned>(of));
  };
  SDA_LAUNCH(stream_tiles, grid(S * B, kAtOnce), kThreads, 0, stream, logits, lines, parts.streams);
  if (kinds.js_weights && kinds.pair[0] != kinds.pair[1])
    SDA_LAUNCH(divergence_tiles, grid(B, kScoreAtOnce), kThreads, 0, stream, in, parts);
  if (S == 1) {
    SDA_LAUNCH(score_tiles<1>, grid(B, kScoreAtOnce), kThreads, 0, stream, in, parts, log_probs);
  } else if (S == 2) {
    SDA_LAUNCH(score_tiles<2>, grid(B, kScoreAtOnce), kThreads, 0, stream, in, parts, log_probs);
  } else {
    SDA_LAUNCH(score_tiles<kMostStreams>, grid(B, 1), kThreads, 0, stream, in, parts, log_probs);
  }
  if (kinds.details || kinds.temperature == Temperature::kEntropy)
    SDA_LAUNCH(entropy_tiles, grid(B, kDetailsAtOnce), kThreads, 0, stream, in, parts, log_probs);
  SDA_LAUNCH(temper_tiles, grid(B, kAtOnce), kThreads, 0, stream, in, parts, log_probs);
  SDA_LAUNCH(normalise, grid(B, kAtOnce), kThreads, 0, stream, in, parts, log_probs, stats);
  if (!kinds.details) return;
  SDA_LAUNCH(describe_tiles, grid(B, 1), kThreads, 0, stream, in, parts);
  SDA_LAUNCH(write_details, static_cast<unsigned>(B), kWarp, 0, stream, in, parts, stats);
}

}  // namespace cuda
}  // namespace sda
