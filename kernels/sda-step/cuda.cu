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

#include "cuda.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;
constexpr int kTile = kThreads * kPerThread;
constexpr int kNone = 0x7fffffff;

struct StreamTile {
  double sum;  // of exp(logit - largest)
  float largest;
  int bad;  // the first NaN or +Infinity; kNone
};

struct QueryTile {
  double js;
  float largest;  // of the steered log-probabilities
};

// What is known of a query: the first part after launch 2, the second after launch 3.
struct Query {
  float largest[2], log_sum[2];
  double sum[2];
  int bad_stream, bad_token;
  double js, temperature;
  float steered_largest;
  int unusable;  // bad_stream, or no token is left
};

struct Scratch {
  Query* queries;        // [B]
  StreamTile* streams;   // [S B, tiles]
  QueryTile* parts;      // [B, tiles]
  double* sums;          // [B, tiles]
};

Scratch layout(void* memory, int64_t B, int64_t S, int64_t tiles) {
  Scratch scratch;
  scratch.queries = static_cast<Query*>(memory);
  scratch.streams = reinterpret_cast<StreamTile*>(scratch.queries + B);
  scratch.parts = reinterpret_cast<QueryTile*>(scratch.streams + S * B * tiles);
  scratch.sums = reinterpret_cast<double*>(scratch.parts + B * tiles);
  return scratch;
}

struct IfLane {
  __device__ bool operator()(bool mask) const { return mask; }
};

__device__ int64_t token_of(int j) {
  return static_cast<int64_t>(blockIdx.x) * kTile + j * kThreads + threadIdx.x;
}

__global__ void stream_tiles(const float* logits, int64_t V, int tiles, StreamTile* out) {
  __shared__ float floats[kThreads / kWarp];
  __shared__ double doubles[kThreads / kWarp];
  __shared__ int ints[kThreads / kWarp];
  const float* line = logits + blockIdx.y * V;
  float x[kPerThread], largest = -kInfinity;
  int bad = kNone;
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = token_of(j);
    x[j] = token < V ? line[token] : -kInfinity;
    if (x[j] != x[j] || x[j] == kInfinity) {
      bad = bad == kNone ? static_cast<int>(token) : bad;
    } else {
      largest = max_of(largest, x[j]);
    }
  }
  bad = reduce_block(bad, Least(), ints);
  largest = reduce_block(largest, Largest(), floats);
  const float shift = largest > -kInfinity ? largest : 0.0f;
  float sum = 0.0f;
  for (int j = 0; j < kPerThread; j++) sum += bad == kNone ? exp_fast(x[j] - shift) : 0.0f;
  const double total = reduce_block(static_cast<double>(sum), Sum(), doubles);
  if (threadIdx.x == 0) out[static_cast<int64_t>(blockIdx.y) * tiles + blockIdx.x] = {total, largest, bad};
}

// Combines a query's stream tiles; every thread has the result.
__device__ Query combine_streams(const StreamTile* tile, int S, int tiles) {
  __shared__ float floats[kThreads / kWarp];
  __shared__ double doubles[kThreads / kWarp];
  __shared__ int ints[kThreads / kWarp];
  Query query = {};
  query.bad_stream = query.bad_token = -1;
  for (int s = 0; s < S; s++, tile += tiles) {
    float largest = -kInfinity;
    int bad = kNone;
    for (int t = threadIdx.x; t < tiles; t += kThreads) {
      largest = max_of(largest, tile[t].largest);
      bad = tile[t].bad < bad ? tile[t].bad : bad;
    }
    largest = reduce_block(largest, Largest(), floats);
    bad = reduce_block(bad, Least(), ints);
    double sum = 0.0;
    for (int t = threadIdx.x; t < tiles; t += kThreads)
      if (tile[t].sum > 0.0) sum += tile[t].sum * exp(static_cast<double>(tile[t].largest) - largest);
    sum = reduce_block(sum, Sum(), doubles);
    if (query.bad_stream < 0 && (bad != kNone || largest == -kInfinity)) {
      query.bad_stream = s;
      query.bad_token = bad == kNone ? -1 : bad;
    }
    query.largest[s] = largest;
    query.sum[s] = sum;
    query.log_sum[s] = static_cast<float>(log(sum));
  }
  if (S == 1) {
    query.largest[1] = query.largest[0];
    query.sum[1] = query.sum[0];
    query.log_sum[1] = query.log_sum[0];
  }
  return query;
}

__global__ void steer_tiles(StepSettings settings, const float* logits, const float* strength, int S,
                            int64_t V, int tiles, Scratch scratch, float* log_probs) {
  __shared__ float floats[kThreads / kWarp];
  __shared__ double doubles[kThreads / kWarp];
  const int64_t q = blockIdx.y;
  const Query query = combine_streams(scratch.streams + q * S * tiles, S, tiles);
  if (blockIdx.x == 0 && threadIdx.x == 0) scratch.queries[q] = query;
  const float* x1 = logits + q * S * V;
  const float* x2 = x1 + (S - 1) * V;
  const float scale1 = static_cast<float>(1.0 / query.sum[0]), scale2 = static_cast<float>(1.0 / query.sum[1]);
  const float least =
      settings.plausibility > 0.0f ? logf(settings.plausibility) - query.log_sum[1] : -kInfinity;
  float js = 0.0f, largest = -kInfinity;
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = token_of(j);
    if (token >= V || query.bad_stream >= 0) continue;
    const float d1 = x1[token] - query.largest[0], d2 = x2[token] - query.largest[1];
    const float p1 = exp_fast(d1) * scale1, p2 = exp_fast(d2) * scale2;
    if (p1 + p2 > kLeastMass) js += js_term(p1, p2, IfLane());
    const float log_p1 = d1 - query.log_sum[0], log_p2 = d2 - query.log_sum[1];
    float log_p = settings.base ? log_p1 : steered_log_prob(log_p1, log_p2, strength[q]);
    if (log_p2 < least) log_p = -kInfinity;
    largest = max_of(largest, log_p);
    log_probs[q * V + token] = log_p;
  }
  const double part = reduce_block(static_cast<double>(js), Sum(), doubles);
  largest = reduce_block(largest, Largest(), floats);
  if (threadIdx.x == 0) scratch.parts[q * tiles + blockIdx.x] = {part, largest};
}

__global__ void temper_tiles(StepSettings settings, int64_t V, int tiles, Scratch scratch,
                             const float* log_probs) {
  __shared__ float floats[kThreads / kWarp];
  __shared__ double doubles[kThreads / kWarp];
  const int64_t q = blockIdx.y;
  const QueryTile* part = scratch.parts + q * tiles;
  double js = 0.0;
  float largest = -kInfinity;
  for (int t = threadIdx.x; t < tiles; t += kThreads) {
    js += part[t].js;
    largest = max_of(largest, part[t].largest);
  }
  js = reduce_block(js, Sum(), doubles);
  largest = reduce_block(largest, Largest(), floats);
  const double ln2 = 0.693147180559945309;
  js = js < 0.0 ? 0.0 : js > ln2 ? ln2 : js;
  const double temperature = temperature_of(js, settings.t0, settings.sigma, settings.t_min);
  const bool bad = scratch.queries[q].bad_stream >= 0;
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    Query& query = scratch.queries[q];
    query.js = js;
    query.temperature = temperature;
    query.steered_largest = largest;
    // no token is left, or the strength overflowed
    query.unusable = bad ? query.bad_stream : fabsf(largest) < kInfinity ? -1 : 1;
  }
  const float inverse = static_cast<float>(1.0 / temperature);
  float sum = 0.0f;
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = token_of(j);
    if (token >= V || bad) continue;
    const float v = (log_probs[q * V + token] - largest) * inverse;
    if (v > kLeastExponent) sum += exp_fast(v);
  }
  const double total = reduce_block(static_cast<double>(sum), Sum(), doubles);
  if (threadIdx.x == 0) scratch.sums[q * tiles + blockIdx.x] = total;
}

__global__ void normalise(int64_t V, int tiles, Scratch scratch, float* log_probs, float* stats) {
  __shared__ double doubles[kThreads / kWarp];
  const int64_t q = blockIdx.y;
  const Query query = scratch.queries[q];
  double sum = 0.0;
  for (int t = threadIdx.x; t < tiles; t += kThreads) sum += scratch.sums[q * tiles + t];
  sum = reduce_block(sum, Sum(), doubles);
  const bool sound = query.unusable < 0;
  const float inverse = static_cast<float>(1.0 / query.temperature);
  const float log_sum = static_cast<float>(log(sum));
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = token_of(j);
    if (token >= V) continue;
    float& y = log_probs[q * V + token];
    y = sound ? (y - query.steered_largest) * inverse - log_sum : 0.0f;
  }
  if (blockIdx.x > 0 || threadIdx.x > 0) return;
  float* out = stats + q * kStats;
  out[0] = sound ? static_cast<float>(query.js) : 0.0f;
  out[1] = sound ? static_cast<float>(query.temperature) : 0.0f;
  for (int s = 0; s < 2; s++)
    out[2 + s] = sound ? static_cast<float>(query.largest[s] + log(query.sum[s])) : 0.0f;
  out[4] = static_cast<float>(query.unusable);
  out[5] = static_cast<float>(query.bad_token);
}

}  // namespace

size_t step_scratch_bytes(int64_t B, int64_t S, int64_t V) {
  const int64_t tiles = ceil_div(V, kTile);
  return B * sizeof(Query) +
         B * tiles * (S * sizeof(StreamTile) + sizeof(QueryTile) + sizeof(double));
}

void step(const StepSettings& settings, const float* logits, const float* strength, int64_t B, int64_t S,
          int64_t V, float* log_probs, float* stats, void* scratch, cudaStream_t stream) {
  const int tiles = ceil_div(V, kTile);
  const Scratch parts = layout(scratch, B, S, tiles);
  const int streams = static_cast<int>(S);
  const dim3 lines(tiles, static_cast<unsigned>(S * B)), queries(tiles, static_cast<unsigned>(B));
  SDA_LAUNCH(stream_tiles, lines, kThreads, 0, stream, logits, V, tiles, parts.streams);
  SDA_LAUNCH(steer_tiles, queries, kThreads, 0, stream, settings, logits, strength, streams, V, tiles, parts,
             log_probs);
  SDA_LAUNCH(temper_tiles, queries, kThreads, 0, stream, settings, V, tiles, parts, log_probs);
  SDA_LAUNCH(normalise, queries, kThreads, 0, stream, V, tiles, parts, log_probs, stats);
}

}  // namespace cuda
}  // namespace sda
