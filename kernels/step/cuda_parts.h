// What the launches of a step on a GPU (cuda.cu) say of tiles, streams and queries to those after them, and how what is
// said of tiles is combined: for every block by itself and in a fixed order.
#pragma once

#include "../fours.h"
#include "math.h"

namespace sda {
namespace cuda {
namespace stepping {

constexpr int kWarps = 12, kThreads = kWarps * kWarp;
constexpr int kPerThread = 4;
constexpr int kTile = kThreads * kPerThread;
constexpr int kHeld = 4;  // tiles that a lane loads at once: 128 a warp, of 196,608 tokens
constexpr int kNone = 0x7fffffff;
static_assert(kMostStreams <= kWarps, "a stream a warp");

// Of a part of a stream: a warp's tokens, a tile, all.
struct alignas(16) StreamPart {
  double sum;  // of exp(logit - largest)
  float largest;
  int bad;  // the first NaN or +Infinity; kNone
};

// Of a tile of a query.
struct alignas(16) QueryPart {
  double js;
  float largest;  // of the score
};
struct alignas(16) ScorePart {
  double mass, weighted;  // sums of exp(score - largest), and of that times its exponent
};
struct alignas(16) DetailPart {
  double js, kept;                // of all streams; probability that the mask keeps
  double weighted[kMostStreams];  // sums of P times (logit - largest)
};

// What is known of a query: the first part after the score, the second after T.
struct alignas(16) Query {
  float log_z[kMostStreams];  // log of the sum of exp(logit)
  int bad_stream, bad_token;
  float js, temperature, inverse, largest, entropy;
  int unusable;  // bad_stream, or S where no token is left
};

struct Scratch {
  Query* queries;       // [B]
  StreamPart* streams;  // [S B, tiles]
  QueryPart* parts;     // [B, tiles]
  ScorePart* scores;    // [B, tiles]
  DetailPart* details;  // [B, tiles], or none
  double* sums;         // [B, tiles]: of JS where it decides the weights; then of exp(score / T)
};

inline Scratch layout(void* memory, int64_t B, int64_t S, int64_t tiles, bool details) {
  Scratch scratch;
  scratch.queries = static_cast<Query*>(memory);
  scratch.streams = reinterpret_cast<StreamPart*>(scratch.queries + B);
  scratch.parts = reinterpret_cast<QueryPart*>(scratch.streams + S * B * tiles);
  scratch.scores = reinterpret_cast<ScorePart*>(scratch.parts + B * tiles);
  scratch.details = reinterpret_cast<DetailPart*>(scratch.scores + B * tiles);
  scratch.sums = reinterpret_cast<double*>(scratch.details + (details ? B * tiles : 0));
  return scratch;
}

// Lines of V numbers; `fours`: see in_fours, of all that the kernel reads and writes.
struct Lines {
  int64_t V;
  int tiles;
  bool fours;
};

// All that the launches of one step read.
struct StepInput {
  StepKinds kinds;
  const float *logits, *numbers, *least;
  int S;
  Lines lines;

  __device__ const float* line(int64_t q, int s) const { return logits + (q * S + s) * lines.V; }
  __device__ const float* numbers_of(int64_t q) const { return numbers + q * step_numbers_width(S); }
};

struct Tokens {
  float x[kPerThread];
};

#if defined(__CUDACC__) || defined(SDA_CUDA_EMULATE)

// The first of a thread's neighbouring tokens.
__device__ inline int64_t first_token(int tile) { return static_cast<int64_t>(tile) * kTile + kPerThread * threadIdx.x; }

__device__ inline Tokens load_tokens(const float* line, int tile, const Lines& lines, float beyond) {
  Tokens tokens;
  load_four(line, first_token(tile), lines.V, lines.fours, beyond, tokens.x);
  return tokens;
}

// e^(x - largest); 0 where x is -Infinity, 1 where they are equal.
__device__ inline double share(float x, float largest) { return exp_fast(x - (largest > -kInfinity ? largest : 0.0f)); }

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

// JS and the largest score of a query's tiles, by a warp.
__device__ inline QueryPart combine(const QueryPart* parts, int tiles) {
  QueryPart all = {0.0, -kInfinity};
  #pragma unroll 1
  for (int first = lane(); first < tiles; first += kHeld * kWarp) {
    QueryPart some[kHeld];
    for (int i = 0; i < kHeld; i++) {
      const int t = first + i * kWarp;
      some[i] = t < tiles ? parts[t] : QueryPart{0.0, -kInfinity};
    }
    for (const QueryPart& part : some) all.js += part.js, all.largest = max_of(all.largest, part.largest);
  }
  return {reduce_warp(all.js, Sum()), reduce_warp(all.largest, Largest())};
}

// The sum over tiles, by a warp.
__device__ inline double sum_of_tiles(const double* tiles, int n) {
  double sum = 0.0;
  #pragma unroll 1
  for (int some = lane(); some < n; some += kHeld * kWarp) {
    double sums[kHeld];
    for (int i = 0; i < kHeld; i++) sums[i] = some + i * kWarp < n ? tiles[some + i * kWarp] : 0.0;
    for (double each : sums) sum += each;
  }
  return reduce_warp(sum, Sum());
}

// The sum over a block of what its warps have each summed up, by its first warp, where all lanes have it.
__device__ inline double sum_of_warps(const double* sums) {
  return reduce_warp(lane() < kWarps ? sums[lane()] : 0.0, Sum());
}

__device__ inline double clamped_js(double js) {
  const double ln2 = 0.693147180559945309;
  return js < 0.0 ? 0.0 : js > ln2 ? ln2 : js;
}

// A stream as a whole: L = (logit - largest) - log_sum, P = exp(logit - largest) * scale.
struct Stream {
  float largest, log_sum, scale, log_z;
  int bad;  // a token, -1 where none is finite, kNone where it is sound

  __device__ float log_prob(float x) const { return (x - largest) - log_sum; }
};

__device__ inline Stream stream_of(const StreamPart& all) {
  const double log_sum = log(all.sum);
  return {all.largest, static_cast<float>(log_sum), static_cast<float>(1.0 / all.sum),
          static_cast<float>(all.largest + log_sum),
          all.bad == kNone && all.largest == -kInfinity ? -1 : all.bad};
}

// All streams of a query into shared memory, a stream a warp; seen behind the next barrier.
__device__ inline void find_streams(const Scratch& scratch, int64_t q, int S, int tiles, Stream* streams) {
  if (warp() >= S) return;
  const StreamPart all = combine<kHeld>(scratch.streams + (q * S + warp()) * tiles, tiles);
  if (lane() == 0) streams[warp()] = stream_of(all);
}

// The first unusable stream, -1 where all are sound.
__device__ inline int bad_stream_of(const Stream* streams, int S) {
  for (int s = 0; s < S; s++)
    if (streams[s].bad != kNone) return s;
  return -1;
}

// What a token's log-probability in the mask's stream, or its logit, must reach.
__device__ inline float mask_bound(const StepInput& in, int64_t q, const Stream& stream) {
  if (in.kinds.mask == Mask::kLeast) return in.least[q];
  const float alpha = in.kinds.mask == Mask::kPlausible ? in.numbers_of(q)[kAlpha] : 0.0f;
  // the log-probability of the likeliest token is -log_sum
  return alpha > 0.0f ? std::log(alpha) - stream.log_sum : -kInfinity;
}

__device__ inline bool mask_keeps(const StepKinds& kinds, const Stream& stream, float bound, float x) {
  return (kinds.mask == Mask::kLeast ? x : stream.log_prob(x)) >= bound;
}

#endif

}  // namespace stepping
}  // namespace cuda
}  // namespace sda
