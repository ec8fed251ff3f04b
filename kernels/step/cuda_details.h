// Launches of a step on a GPU (cuda.cu) that only some rules ask for: the entropy of the score, and the statistics that
// are made on demand.
#pragma once

#include "cuda_parts.h"

namespace sda {
namespace cuda {
namespace stepping {

#if defined(__CUDACC__) || defined(SDA_CUDA_EMULATE)

constexpr int kDetailsAtOnce = 2;

// The sums of exp(score - largest) over tiles, and of that times its exponent.
__global__ void __launch_bounds__(kThreads, kDetailsAtOnce)
    entropy_tiles(StepInput in, Scratch scratch, const float* log_probs) {
  __shared__ float found_largest;
  __shared__ double masses[2][kWarps], weighted[2][kWarps];
  await_previous();
  const int64_t q = blockIdx.y;
  const Lines lines = in.lines;
  if (scratch.queries[q].bad_stream >= 0) return;
  if (warp() == 0) {
    const QueryPart all = combine(scratch.parts + q * lines.tiles, lines.tiles);
    if (lane() == 0) found_largest = all.largest;
  }
  __syncthreads();
  const float largest = found_largest;
  const auto load = [&](int tile) { return load_tokens(log_probs + q * lines.V, tile, lines, -kInfinity); };
  for_tiles(lines.tiles, load(blockIdx.x), load, [&](int tile, const Tokens& tokens, bool odd) {
    float mass = 0.0f, times = 0.0f;
    for (float x : tokens.x) {
      // below this the exponential is 0, and 0 * -Infinity would not be
      const float v = max_of(x - largest, -100.0f), e = exp_fast(v);
      mass += e;
      times += e * v;
    }
    const double of_warp = reduce_warp(static_cast<double>(mass), Sum());
    const double times_of_warp = reduce_warp(static_cast<double>(times), Sum());
    if (lane() == 0) masses[odd][warp()] = of_warp, weighted[odd][warp()] = times_of_warp;
    __syncthreads();
    if (warp() > 0) return;
    const ScorePart part = {sum_of_warps(masses[odd]), sum_of_warps(weighted[odd])};
    if (lane() == 0) scratch.scores[q * lines.tiles + tile] = part;
  });
}

// The entropy of softmax(score), nats, by a warp.
__device__ inline double entropy_of(const ScorePart* parts, int tiles) {
  double mass = 0.0, weighted = 0.0;
  #pragma unroll 1
  for (int t = lane(); t < tiles; t += kWarp) mass += parts[t].mass, weighted += parts[t].weighted;
  mass = reduce_warp(mass, Sum());
  weighted = reduce_warp(weighted, Sum());
  const double entropy = log(mass) - weighted / mass;
  return entropy > 0.0 ? entropy : 0.0;
}

// S times a stream's part of a token's generalised JS: see spread_term of details.h.
__device__ inline float spread_part(float p, float mean) {
  const float r = mean > 0.0f ? (p - mean) / mean : 0.0f, ratio = r + 1.0f;
  return mean * ((ratio > 1e-37f ? ratio * log_fast(max_of(ratio, 1e-37f)) : 0.0f) - r);
}

// The sums over tiles of what the details consist of.
__global__ void __launch_bounds__(kThreads, 1) describe_tiles(StepInput in, Scratch scratch) {
  constexpr int kSums = kMostStreams + 2;
  __shared__ Stream streams[kMostStreams];
  __shared__ double sums[kSums][kWarps];
  await_previous();
  const int64_t q = blockIdx.y;
  if (scratch.queries[q].unusable >= 0) return;
  find_streams(scratch, q, in.S, in.lines.tiles, streams);
  __syncthreads();
  const Stream mask = streams[in.kinds.mask_stream];
  const float bound = mask_bound(in, q, mask);
  #pragma unroll 1
  for (int tile = blockIdx.x; tile < in.lines.tiles; tile += gridDim.x) {
    float p[kPerThread][kMostStreams], mean[kPerThread] = {}, some[kSums] = {};
    for (int s = 0; s < kMostStreams; s++) {
      if (s >= in.S) break;
      const Tokens tokens = load_tokens(in.line(q, s), tile, in.lines, -kInfinity);
      for (int j = 0; j < kPerThread; j++) {
        const float d = max_of(tokens.x[j] - streams[s].largest, -100.0f);
        p[j][s] = exp_fast(d) * streams[s].scale;
        mean[j] += p[j][s];
        some[2 + s] += p[j][s] * d;
        if (s == in.kinds.mask_stream && mask_keeps(in.kinds, mask, bound, tokens.x[j])) some[1] += p[j][s];
      }
    }
    for (int j = 0; j < kPerThread; j++)
      for (int s = 0; s < kMostStreams; s++)
        if (s < in.S) some[0] += spread_part(p[j][s], mean[j] / static_cast<float>(in.S));
    for (int i = 0; i < kSums; i++) {
      const double sum = reduce_warp(static_cast<double>(some[i]), Sum());
      if (lane() == 0) sums[i][warp()] = sum;
    }
    __syncthreads();
    DetailPart& part = scratch.details[q * in.lines.tiles + tile];
    if (warp() < kSums) {
      const double sum = sum_of_warps(sums[warp()]);
      double* const to = warp() == 0 ? &part.js : warp() == 1 ? &part.kept : &part.weighted[warp() - 2];
      if (lane() == 0) *to = sum;
    }
    __syncthreads();
  }
}

// A warp a query: the details behind the other statistics.
__global__ void write_details(StepInput in, Scratch scratch, float* stats) {
  await_previous();
  const int64_t q = blockIdx.x;
  const int S = in.S;
  const Query& query = scratch.queries[q];
  float* const out = stats + q * step_stats_width(S, true) + step_details(S);
  const bool sound = query.unusable < 0;
  if (!sound) {
    for (int i = lane(); i < kEntropies + 2 * S; i += kWarp) out[i] = 0.0f;
    return;
  }
  const float* numbers = in.numbers_of(q);
  const DetailPart* parts = scratch.details + q * in.lines.tiles;
  const auto sum = [&](const auto& of) {
    double all = 0.0;
    for (int t = lane(); t < in.lines.tiles; t += kWarp) all += of(parts[t]);
    return reduce_warp(all, Sum());
  };
  const double js = sum([](const DetailPart& part) { return part.js; }) / S;
  const double kept = sum([](const DetailPart& part) { return part.kept; });
  const double most = log(static_cast<double>(S));
  const bool masked = in.kinds.mask == Mask::kLeast || (in.kinds.mask == Mask::kPlausible && numbers[kAlpha] > 0.0f);
  double rest = numbers[kTotal];
  for (int s = 0; s < S; s++) {
    const double weighted = sum([&](const DetailPart& part) { return part.weighted[s]; });
    const StreamPart all = combine<kHeld>(scratch.streams + (q * S + s) * in.lines.tiles, in.lines.tiles);
    const double entropy = log(all.sum) - weighted;
    const float weight = s == in.kinds.anchor ? 0.0f : weight_of(in.kinds, numbers, s, query.js);
    rest -= weight;
    if (lane() == 0) {
      out[kEntropies + s] = static_cast<float>(entropy > 0.0 ? entropy : 0.0);
      out[kEntropies + S + s] = weight;
    }
  }
  if (lane() > 0) return;
  out[kScoreEntropy] = query.entropy;
  out[kGeneralJs] = static_cast<float>(js < 0.0 ? 0.0 : js > most ? most : js);
  out[kKeptMass] = masked ? static_cast<float>(kept < 1.0 ? kept : 1.0) : 1.0f;
  out[kEntropies + S + in.kinds.anchor] = static_cast<float>(rest);
}

#endif

}  // namespace stepping
}  // namespace cuda
}  // namespace sda
