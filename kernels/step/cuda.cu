// The SDA step (eqs 4-8, math.h) on an NVIDIA GPU: op.cc says what it computes.
//
// Tokens are split into tiles of kTile, a block a tile and query. Four launches, each of which first combines what the
// tiles of the launch before said, every block for itself and in a fixed order:
//   1. stream_tiles   each stream's largest logit and sum of exponentials
//   2. steer_tiles    the terms of JS; the steered log-probabilities, written to log_probs
//   3. temper_tiles   T from JS; the sum of exp(log P / T)
//   4. normalise      log P' = log P / T - log(sum); statistics
// Bytes per query and token: 8 read, 8 read and 4 written, 4 read, 4 read and 4 written: 32, of which 8 + 4 must
// touch device memory; the rest stays in the second-level cache. Sums over tiles are float64: no atomics.
//
// With about one tile a multiprocessor, a launch takes as long as its longest chain: the launch before, a load, the
// warp that combines the tiles (of steer_tiles one a stream), two barriers. Tokens are loaded before that; log and exp2
// in float64 are left to that warp. No load waits for another: of a query with an unusable stream, what was not written
// is combined too, and not used. Of many queries a block takes several tiles, one after another and the next one's
// tokens loaded ahead, so that all blocks run at once. A tile's numbers do not depend on which block has it.

#include "cuda.h"

#include "../fours.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kWarps = 12, kThreads = kWarps * kWarp;
constexpr int kPerThread = 4;
constexpr int kTile = kThreads * kPerThread;
constexpr int kHeld = 4;  // tiles that a lane loads at once: 128 a warp, of 196,608 tokens
constexpr int kAtOnce = 4, kSteerAtOnce = 3;  // blocks of a multiprocessor: their registers leave room for that
constexpr int kNone = 0x7fffffff;

// Of a part of a stream: a warp's tokens, a tile, all.
struct alignas(16) StreamPart {
  double sum;  // of exp(logit - largest)
  float largest;
  int bad;  // the first NaN or +Infinity; kNone
};

// Of a part of a query.
struct alignas(16) QueryPart {
  double js;
  float largest;  // of the steered log-probabilities
};

// What is known of a query: the first part after launch 2, the second after launch 3.
struct alignas(16) Query {
  float log_z[2];  // log of the sum of exp(logit)
  int bad_stream, bad_token;
  float js, temperature, inverse, largest;
  int unusable;  // bad_stream, or 1 where no token is left
};

struct Scratch {
  Query* queries;       // [B]
  StreamPart* streams;  // [S B, tiles]
  QueryPart* parts;     // [B, tiles]
  double* sums;         // [B, tiles]
};

Scratch layout(void* memory, int64_t B, int64_t S, int64_t tiles) {
  Scratch scratch;
  scratch.queries = static_cast<Query*>(memory);
  scratch.streams = reinterpret_cast<StreamPart*>(scratch.queries + B);
  scratch.parts = reinterpret_cast<QueryPart*>(scratch.streams + S * B * tiles);
  scratch.sums = reinterpret_cast<double*>(scratch.parts + B * tiles);
  return scratch;
}

// Lines of V numbers; `fours`: see in_fours, of all that the kernel reads and writes.
struct Lines {
  int64_t V;
  int tiles;
  bool fours;
};

struct IfLane {
  __device__ bool operator()(bool mask) const { return mask; }
};

// The first of a thread's neighbouring tokens.
__device__ int64_t first_token(int tile) { return static_cast<int64_t>(tile) * kTile + kPerThread * threadIdx.x; }

// e^(x - largest); 0 where x is -Infinity, 1 where they are equal.
__device__ double share(float x, float largest) { return exp_fast(x - (largest > -kInfinity ? largest : 0.0f)); }

// Combines the parts of a stream; called by a whole warp, whose lanes all have the result. A lane first combines its
// own, kCount of them at a time, so that their loads and exponentials overlap.
template <int kCount>
__device__ StreamPart combine(const StreamPart* parts, int n) {
  StreamPart mine = {0.0, -kInfinity, kNone};
  #pragma unroll 1
  for (int first = lane(); first < n; first += kCount * kWarp) {
    StreamPart some[kCount];
    for (int i = 0; i < kCount; i++)
      some[i] = first + i * kWarp < n ? parts[first + i * kWarp] : StreamPart{0.0, -kInfinity, kNone};
    float largest = mine.largest;
    for (const StreamPart& part : some) {
      largest = max_of(largest, part.largest);
      mine.bad = part.bad < mine.bad ? part.bad : mine.bad;
    }
    mine.sum *= share(mine.largest, largest);
    for (const StreamPart& part : some) mine.sum += part.sum * share(part.largest, largest);
    mine.largest = largest;
  }
  const float largest = reduce_warp(mine.largest, Largest());
  const int bad = reduce_warp(mine.bad, Least());
  return {reduce_warp(mine.sum * share(mine.largest, largest), Sum()), largest, bad};
}

// The sum over a block of what its warps have each summed up, by its first warp, where all lanes have it.
__device__ double sum_of_warps(const double* sums) { return reduce_warp(lane() < kWarps ? sums[lane()] : 0.0, Sum()); }

struct Tokens {
  float x[kPerThread];
};
struct TwoTokens {
  float x1[kPerThread], x2[kPerThread];  // of the two streams
};

__global__ void __launch_bounds__(kThreads, kAtOnce)
    stream_tiles(const float* logits, Lines lines, StreamPart* out) {
  __shared__ StreamPart parts[2][kWarps];
  await_previous();
  const int64_t line = blockIdx.y;
  const auto load = [&](int tile) {
    Tokens tokens;
    load_four(logits + line * lines.V, first_token(tile), lines.V, lines.fours, -kInfinity, tokens.x);
    return tokens;
  };
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

// What steer_tiles needs of a stream.
struct Stream {
  float largest, log_sum, scale, log_z;
  int bad;  // a token, -1 where none is finite, kNone where it is sound
};

__device__ Stream stream_of(const StreamPart& all) {
  const double log_sum = log(all.sum);
  return {all.largest, static_cast<float>(log_sum), static_cast<float>(1.0 / all.sum),
          static_cast<float>(all.largest + log_sum),
          all.bad == kNone && all.largest == -kInfinity ? -1 : all.bad};
}

// `least`: the log of the plausibility, -Infinity where there is none.
__global__ void __launch_bounds__(kThreads, kSteerAtOnce)
    steer_tiles(const float* logits, const float* strengths, int S, Lines lines, bool base, float least,
                Scratch scratch, float* log_probs) {
  __shared__ Stream streams[2];
  __shared__ float largests[2][kWarps];
  __shared__ double sums[2][kWarps];
  await_previous();
  const int64_t q = blockIdx.y;
  const int tiles = lines.tiles;
  const float strength = strengths[q];
  const auto load = [&](int tile) {
    TwoTokens tokens;
    load_four(logits + q * S * lines.V, first_token(tile), lines.V, lines.fours, -kInfinity, tokens.x1);
    load_four(logits + ((q + 1) * S - 1) * lines.V, first_token(tile), lines.V, lines.fours, -kInfinity, tokens.x2);
    return tokens;
  };
  const TwoTokens begin = load(blockIdx.x);
  if (warp() < S) {
    const StreamPart all = combine<kHeld>(scratch.streams + (q * S + warp()) * tiles, tiles);
    if (lane() == 0) streams[warp()] = stream_of(all);
  }
  __syncthreads();
  const Stream one = streams[0], two = streams[S - 1];
  const int bad_stream = one.bad != kNone ? 0 : two.bad != kNone ? 1 : -1;
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    Query& query = scratch.queries[q];
    query.log_z[0] = one.log_z, query.log_z[1] = two.log_z;
    query.bad_stream = bad_stream;
    query.bad_token = bad_stream < 0 ? -1 : streams[bad_stream].bad;
  }
  if (bad_stream >= 0) return;  // launch 4 writes zeros

  const float lowest = least - two.log_sum;
  for_tiles(lines.tiles, begin, load, [&](int tile, const TwoTokens& tokens, bool odd) {
    const int64_t first = first_token(tile);
    float js = 0.0f, largest = -kInfinity, y[kPerThread];
    for (int j = 0; j < kPerThread; j++) {
      const float d1 = tokens.x1[j] - one.largest, d2 = tokens.x2[j] - two.largest;
      const float p1 = exp_fast(d1) * one.scale, p2 = exp_fast(d2) * two.scale;
      if (p1 + p2 > kLeastMass) js += js_term(p1, p2, IfLane());
      const float log_p1 = d1 - one.log_sum, log_p2 = d2 - two.log_sum;
      y[j] = base ? log_p1 : steered_log_prob(log_p1, log_p2, strength);
      if (log_p2 < lowest) y[j] = -kInfinity;
      if (first + j < lines.V) largest = max_of(largest, y[j]);
    }
    store_four(log_probs + q * lines.V, first, lines.V, lines.fours, y);
    const double sum = reduce_warp(static_cast<double>(js), Sum());
    largest = reduce_warp(largest, Largest());
    if (lane() == 0) sums[odd][warp()] = sum, largests[odd][warp()] = largest;
    __syncthreads();
    if (warp() > 0) return;
    const double part = sum_of_warps(sums[odd]);
    largest = reduce_warp(lane() < kWarps ? largests[odd][lane()] : -kInfinity, Largest());
    if (lane() == 0) scratch.parts[q * lines.tiles + tile] = {part, largest};
  });
}

// temperature_of(js, ...), where its pow is costly; per_sigma = 1 / sigma. JS 0 or sigma = Infinity gives max(Tmin, T0)
// exactly here too.
__device__ double temperature_of(double js, double per_sigma, const StepSettings& settings) {
  const double scaled = settings.t0 * exp2(-js * per_sigma);
  return sda::temperature_of(0.0, scaled, 1.0, settings.t_min);
}

__global__ void __launch_bounds__(kThreads, kAtOnce)
    temper_tiles(StepSettings settings, Lines lines, Scratch scratch, const float* log_probs) {
  __shared__ float found_largest, found_inverse;
  __shared__ double sums[2][kWarps];
  const double per_sigma = 1.0 / settings.sigma;
  await_previous();
  const int64_t q = blockIdx.y;
  const int tiles = lines.tiles;
  Query& query = scratch.queries[q];
  const int bad_stream = query.bad_stream;
  const auto load = [&](int tile) {
    Tokens tokens;
    load_four(log_probs + q * lines.V, first_token(tile), lines.V, lines.fours, -kInfinity, tokens.x);
    return tokens;
  };
  const Tokens begin = load(blockIdx.x);
  if (warp() == 0) {
    double js = 0.0;
    float largest = -kInfinity;
    #pragma unroll 1
    for (int first = lane(); first < tiles; first += kHeld * kWarp) {
      QueryPart some[kHeld];
      for (int i = 0; i < kHeld; i++) {
        const int t = first + i * kWarp;
        some[i] = t < tiles ? scratch.parts[q * tiles + t] : QueryPart{0.0, -kInfinity};
      }
      for (const QueryPart& part : some) js += part.js, largest = max_of(largest, part.largest);
    }
    js = reduce_warp(js, Sum());
    largest = reduce_warp(largest, Largest());
    const double ln2 = 0.693147180559945309;
    js = js < 0.0 ? 0.0 : js > ln2 ? ln2 : js;
    const double temperature = temperature_of(js, per_sigma, settings);
    const float inverse = static_cast<float>(1.0 / temperature);
    if (lane() == 0) found_largest = largest, found_inverse = inverse;
    if (blockIdx.x == 0 && lane() == 0) {
      query.js = static_cast<float>(js);
      query.temperature = static_cast<float>(temperature);
      query.inverse = inverse;
      query.largest = largest;
      // no token is left, or the strength overflowed
      query.unusable = bad_stream >= 0 ? bad_stream : fabsf(largest) < kInfinity ? -1 : 1;
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
    normalise(Lines lines, Scratch scratch, float* log_probs, float* stats) {
  __shared__ float found_log_sum;
  await_previous();
  const int64_t q = blockIdx.y;
  const int tiles = lines.tiles;
  const Query query = scratch.queries[q];
  const bool sound = query.unusable < 0;
  const auto load = [&](int tile) {
    Tokens tokens;
    load_four(log_probs + q * lines.V, first_token(tile), lines.V, lines.fours, 0.0f, tokens.x);
    return tokens;
  };
  const Tokens begin = load(blockIdx.x);
  if (warp() == 0) {
    double sum = 0.0;
    #pragma unroll 1
    for (int some = lane(); some < tiles; some += kHeld * kWarp) {
      double sums[kHeld];
      for (int i = 0; i < kHeld; i++)
        sums[i] = some + i * kWarp < tiles ? scratch.sums[q * tiles + some + i * kWarp] : 0.0;
      for (double each : sums) sum += each;
    }
    sum = reduce_warp(sum, Sum());
    if (lane() == 0) found_log_sum = static_cast<float>(log(sum));
  }
  __syncthreads();
  const float log_sum = sound ? found_log_sum : 0.0f;
  for_tiles(tiles, begin, load, [&](int tile, const Tokens& tokens, bool) {
    float y[kPerThread];
    for (int j = 0; j < kPerThread; j++)
      y[j] = sound ? (tokens.x[j] - query.largest) * query.inverse - log_sum : 0.0f;
    store_four(log_probs + q * lines.V, first_token(tile), lines.V, lines.fours, y);
  });
  if (blockIdx.x > 0 || threadIdx.x > 0) return;
  float* out = stats + q * kStats;
  out[0] = sound ? query.js : 0.0f;
  out[1] = sound ? query.temperature : 0.0f;
  for (int s = 0; s < 2; s++) out[2 + s] = sound ? query.log_z[s] : 0.0f;
  out[4] = static_cast<float>(query.unusable);
  out[5] = static_cast<float>(query.bad_token);
}

}  // namespace

size_t step_scratch_bytes(int64_t B, int64_t S, int64_t V) {
  const int64_t tiles = ceil_div(V, kTile);
  return B * sizeof(Query) +
         B * tiles * (S * sizeof(StreamPart) + sizeof(QueryPart) + sizeof(double));
}

void step(const StepSettings& settings, const float* logits, const float* strength, int64_t B, int64_t S,
          int64_t V, float* log_probs, float* stats, void* scratch, cudaStream_t stream) {
  const Lines lines = {V, ceil_div(V, kTile), in_fours(logits, V) && in_fours(log_probs, V)};
  const Scratch parts = layout(scratch, B, S, lines.tiles);
  const float least = settings.plausibility > 0.0f ? std::log(settings.plausibility) : -kInfinity;
  const auto grid = [&](int64_t of, int at_once) {
    return dim3(blocks_of(lines.tiles, of, at_once), static_cast<unsigned>(of));
  };
  const dim3 streams = grid(S * B, kAtOnce), steered = grid(B, kSteerAtOnce), queries = grid(B, kAtOnce);
  SDA_LAUNCH(stream_tiles, streams, kThreads, 0, stream, logits, lines, parts.streams);
  SDA_LAUNCH(steer_tiles, steered, kThreads, 0, stream, logits, strength, static_cast<int>(S), lines, settings.base,
             least, parts, log_probs);
  SDA_LAUNCH(temper_tiles, queries, kThreads, 0, stream, settings, lines, parts, log_probs);
  SDA_LAUNCH(normalise, queries, kThreads, 0, stream, lines, parts, log_probs, stats);
}

}  // namespace cuda
}  // namespace sda
