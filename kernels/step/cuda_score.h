// Launches of a step on a GPU (cuda.cu) that make the score.
#pragma once

#include "cuda_parts.h"

namespace sda {
namespace cuda {
namespace stepping {

#if defined(__CUDACC__) || defined(SDA_CUDA_EMULATE)

constexpr int kScoreAtOnce = 3;  // blocks of a multiprocessor, of few streams: their registers leave room for that

struct IfLane {
  __device__ bool operator()(bool mask) const { return mask; }
};

// A token's part of JS, by what it is in the two streams below their largest logits.
__device__ inline float js_part(float d1, const Stream& one, float d2, const Stream& two) {
  const float p1 = exp_fast(d1) * one.scale, p2 = exp_fast(d2) * two.scale;
  return p1 + p2 > kLeastMass ? js_term(p1, p2, IfLane()) : 0.0f;
}

// The sums of JS over tiles, where it must be known before the score.
__global__ void __launch_bounds__(kThreads, kScoreAtOnce) divergence_tiles(StepInput in, Scratch scratch) {
  __shared__ Stream streams[kMostStreams];
  __shared__ double sums[2][kWarps];
  await_previous();
  const int64_t q = blockIdx.y;
  const int one = in.kinds.pair[0], two = in.kinds.pair[1];
  const Lines lines = in.lines;
  find_streams(scratch, q, in.S, lines.tiles, streams);
  __syncthreads();
  const Stream first = streams[one], second = streams[two];
  const auto load = [&](int) { return 0; };
  for_tiles(lines.tiles, 0, load, [&](int tile, int, bool odd) {
    const Tokens x1 = load_tokens(in.line(q, one), tile, lines, -kInfinity);
    const Tokens x2 = load_tokens(in.line(q, two), tile, lines, -kInfinity);
    float js = 0.0f;
    for (int j = 0; j < kPerThread; j++) js += js_part(x1.x[j] - first.largest, first, x2.x[j] - second.largest, second);
    const double sum = reduce_warp(static_cast<double>(js), Sum());
    if (lane() == 0) sums[odd][warp()] = sum;
    __syncthreads();
    if (warp() > 0) return;
    const double part = sum_of_warps(sums[odd]);
    if (lane() == 0) scratch.sums[q * lines.tiles + tile] = part;
  });
}

// The streams of a query in slots: the anchor's is the first, the others follow in their order.
__device__ inline int stream_in(int slot, int anchor) { return slot == 0 ? anchor : slot <= anchor ? slot - 1 : slot; }
__device__ inline int slot_of(int stream, int anchor) { return stream == anchor ? 0 : stream < anchor ? stream + 1 : stream; }

// One of a thread's values by slot, without an address: they stay in registers.
template <int kSlots>
__device__ float pick(const float (&values)[kSlots], int slot) {
  float value = values[0];
  for (int i = 1; i < kSlots; i++) value = i == slot ? values[i] : value;
  return value;
}

template <int kSlots>
struct SlotTokens {
  float x[kPerThread][kSlots];
};

// Up to kSlots streams.
template <int kSlots>
__global__ void __launch_bounds__(kThreads, kSlots > 2 ? 1 : kScoreAtOnce)
    score_tiles(StepInput in, Scratch scratch, float* log_probs) {
  __shared__ Stream streams[kMostStreams];
  __shared__ float largests[2][kWarps], found_js;
  __shared__ double sums[2][kWarps];
  await_previous();
  const int64_t q = blockIdx.y;
  const StepKinds& kinds = in.kinds;
  const int S = in.S, tiles = in.lines.tiles;
  const float* numbers = in.numbers_of(q);
  const auto load = [&](int tile) {
    SlotTokens<kSlots> tokens;
    for (int slot = 0; slot < kSlots; slot++) {
      const int s = slot < in.S ? stream_in(slot, in.kinds.anchor) : in.kinds.anchor;
      const Tokens line = load_tokens(in.line(q, s), tile, in.lines, -kInfinity);
      for (int j = 0; j < kPerThread; j++) tokens.x[j][slot] = line.x[j];
    }
    return tokens;
  };
  const SlotTokens<kSlots> begin = load(blockIdx.x);
  find_streams(scratch, q, S, tiles, streams);
  if (kinds.js_weights && warp() == kWarps - 1) {
    const double js = kinds.pair[0] == kinds.pair[1] ? 0.0 : sum_of_tiles(scratch.sums + q * tiles, tiles);
    if (lane() == 0) found_js = static_cast<float>(clamped_js(js));
  }
  __syncthreads();
  const int bad_stream = bad_stream_of(streams, S);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    Query& query = scratch.queries[q];
    for (int s = 0; s < S; s++) query.log_z[s] = streams[s].log_z;
    query.bad_stream = bad_stream;
    query.bad_token = bad_stream < 0 ? -1 : streams[bad_stream].bad;
    query.js = kinds.js_weights ? found_js : 0.0f;
  }
  if (bad_stream >= 0) return;  // the last launch writes zeros

  const bool measures = !kinds.js_weights && kinds.pair[0] != kinds.pair[1];
  const int one = slot_of(kinds.pair[0], kinds.anchor), two = slot_of(kinds.pair[1], kinds.anchor);
  const int mask_slot = slot_of(kinds.mask_stream, kinds.anchor);
  const Stream first = streams[kinds.pair[0]], second = streams[kinds.pair[1]], anchor = streams[kinds.anchor];
  const Stream mask = streams[kinds.mask_stream];
  const float bound = mask_bound(in, q, mask), total = numbers[kTotal];
  float weights[kSlots], floors[kSlots];
  for (int slot = 1; slot < kSlots; slot++) {
    const int s = stream_in(slot, kinds.anchor);
    weights[slot] = slot < S ? weight_of(kinds, numbers, s, found_js) : 0.0f;
    floors[slot] = floor_of(weights[slot], numbers);
  }
  for_tiles(tiles, begin, load, [&](int tile, const SlotTokens<kSlots>& tokens, bool odd) {
    const int64_t from = first_token(tile);
    float js = 0.0f, largest = -kInfinity, y[kPerThread];
    for (int j = 0; j < kPerThread; j++) {
      const float(&x)[kSlots] = tokens.x[j];
      if (measures) js += js_part(pick(x, one) - first.largest, first, pick(x, two) - second.largest, second);
      const float log_p = anchor.log_prob(x[0]);
      y[j] = total == 1.0f ? log_p : total * log_p;
      for (int slot = 1; slot < kSlots; slot++) {
        if (weights[slot] == 0.0f) continue;
        const float other = streams[stream_in(slot, in.kinds.anchor)].log_prob(x[slot]);
        y[j] = pulled(y[j], other, log_p, weights[slot], floors[slot]);
      }
      // the sum can be NaN where weights overflow in both directions
      const bool possible = log_p > -kInfinity && y[j] == y[j];
      if (!possible || !mask_keeps(in.kinds, mask, bound, pick(x, mask_slot))) y[j] = -kInfinity;
      if (from + j < in.lines.V) largest = max_of(largest, y[j]);
    }
    store_four(log_probs + q * in.lines.V, from, in.lines.V, in.lines.fours, y);
    const double sum = reduce_warp(static_cast<double>(js), Sum());
    largest = reduce_warp(largest, Largest());
    if (lane() == 0) sums[odd][warp()] = sum, largests[odd][warp()] = largest;
    __syncthreads();
    if (warp() > 0) return;
    const double part = sum_of_warps(sums[odd]);
    largest = reduce_warp(lane() < kWarps ? largests[odd][lane()] : -kInfinity, Largest());
    if (lane() == 0) scratch.parts[q * in.lines.tiles + tile] = {part, largest};
  });
}

#endif

}  // namespace stepping
}  // namespace cuda
}  // namespace sda
