// Draws one token a query on an NVIDIA GPU: op.cc says what, select.h how the cuts are defined.
//
// Tokens are ranked by log-probability, equal ones by the lower id; a token's rank is one 64-bit number. A cut (top-k by
// count, top-p by mass) keeps a prefix of the ranking, which its last rank tells. No sort of the vocabulary:
//   1. histogram   counts or masses over kBins bins of log-probability; a query's last block finds the bin in which the
//                  cut falls
//   2. collect     the masses of tiles of tokens above that bin, whose own tokens become candidates; a query's last block
//                  cuts among the candidates digit by digit (radix), then draws: over tiles, and within one
// A memset and two launches, two more where top-k and top-p are both on; greedy is a memset and one launch.
// Bytes per query and token: 4 a launch, from the second-level cache but the first time.
// Masses are whole numbers in units of 2^-43, so that sums by atomics do not depend on their order; a token below one
// unit (e^-29.8) is never drawn.

#include "cuda.h"

#include "../math.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;
constexpr int kTile = kThreads * kPerThread;
constexpr int kBins = 1024;
constexpr float kBinsPerNat = 32.0f;  // the last bin starts at e^-31.97, where there is no mass
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr float kMassUnits = 8796093022208.0f;  // 2^43: the sum over kMostTokens fits
constexpr unsigned long long kNoRank = ~0ull;

using Mass = unsigned long long;
using Rank = unsigned long long;

// What a cut keeps: the bins before `bin`, and all ranks up to `last`.
struct Kept {
  int bin;
  Rank last;
};

// What is known of a query between launches; all of it 0 at first.
struct State {
  Rank best_inverted;   // the complement of the best rank
  Kept limit;           // what top-k keeps, where top-p follows
  int bin;              // the cut keeps all bins before this one,
  Mass target;          // and this much of it
  unsigned candidates;  // the bin's tokens, where that is not 0
  unsigned arrived;     // blocks that are done with the launch
};

struct Scratch {
  State* states;     // [B]
  Mass* bins;        // [B, kBins]
  Mass* masses;      // [B, tiles]: above the bin in which the cut falls
  Rank* candidates;  // [B, V]
};

Scratch layout(void* memory, int64_t B, int64_t tiles) {
  Scratch scratch;
  scratch.states = static_cast<State*>(memory);
  scratch.bins = reinterpret_cast<Mass*>(scratch.states + B);
  scratch.masses = scratch.bins + B * kBins;
  scratch.candidates = scratch.masses + B * tiles;
  return scratch;
}

// The cut that two launches make.
struct Request {
  bool by_count;  // top-k, else top-p
  int64_t top_k;
  float top_p, min_p;
  bool within_limit;  // after top-k
  bool draws;         // no other cut follows
};

struct Drawing {
  const float *log_probs, *logits, *stats, *uniforms;
  float* draw;
  int64_t S, V;
};

__device__ bool possible(float log_prob) { return log_prob > -kInfinity && log_prob < kInfinity; }

// Lower is better. Impossible tokens have none.
__device__ Rank rank_of(float log_prob, int64_t token) {
  if (!possible(log_prob)) return kNoRank;
  const unsigned bits = static_cast<unsigned>(float_to_bits(log_prob + 0.0f));  // -0 becomes 0
  const unsigned ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<Rank>(~ascending) << 32 | static_cast<unsigned>(token);
}
__device__ unsigned token_of(Rank rank) { return static_cast<unsigned>(rank); }
__device__ float log_prob_of(Rank rank) {
  const unsigned ascending = ~static_cast<unsigned>(rank >> 32);
  return bits_to_float(static_cast<int>(ascending & 0x80000000u ? ascending & 0x7fffffffu : ~ascending));
}

__device__ Mass mass_of(float log_prob) {
  return possible(log_prob) ? static_cast<Mass>(exp_fast(min_of(log_prob, 0.0f)) * kMassUnits) : 0;
}
__device__ int bin_of(float log_prob) {
  return static_cast<int>(min_of(max_of(-log_prob, 0.0f) * kBinsPerNat, kBins - 1.0f));
}
__device__ bool keeps(const Kept& kept, float log_prob, int64_t token) {
  return bin_of(log_prob) < kept.bin || rank_of(log_prob, token) <= kept.last;
}
__device__ Kept limit_of(const Request& request, const State& state) {
  return request.within_limit ? state.limit : Kept{kBins, 0};
}

__device__ int64_t tile_token(int j) {
  return static_cast<int64_t>(blockIdx.x) * kTile + j * kThreads + threadIdx.x;
}

// Inclusive sums over the threads of a block, in their order.
__device__ Mass scan_block(Mass value, Mass* scratch) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int delta = 1; delta < kWarp; delta *= 2) {
    const Mass before = __shfl_up_sync(kWholeWarp, value, delta);
    if (lane >= delta) value += before;
  }
  if (lane == kWarp - 1) scratch[warp] = value;
  __syncthreads();
  for (int w = 0; w < warp; w++) value += scratch[w];
  __syncthreads();
  return value;
}

struct Place {
  int bin;      // where the target is reached; the number of bins where it is not
  Mass before;  // amount in the bins before it
};

// The first of n bins at which the running sum reaches `target`, at least 1; every thread has it.
__device__ Place find_bin(const Mass* amounts, int n, Mass target) {
  __shared__ Mass sums[kThreads / kWarp];
  __shared__ Place found;
  const int each = (n + kThreads - 1) / kThreads, first = static_cast<int>(threadIdx.x) * each;
  const int end = first + each < n ? first + each : n;
  if (threadIdx.x == 0) found = {n, 0};
  Mass mine = 0;
  for (int bin = first; bin < end; bin++) mine += amounts[bin];
  Mass sum = scan_block(mine, sums) - mine;
  if (sum < target && sum + mine >= target) {
    int bin = first;
    for (; sum + amounts[bin] < target; bin++) sum += amounts[bin];
    found = {bin, sum};
  }
  __syncthreads();
  const Place place = found;
  __syncthreads();
  return place;
}

__device__ Mass total_of(const Mass* amounts, int n) {
  __shared__ Mass sums[kThreads / kWarp];
  Mass mine = 0;
  for (int i = threadIdx.x; i < n; i += kThreads) mine += amounts[i];
  return reduce_block(mine, Sum(), sums);
}

// Adds a block's best rank to what is known of the query.
__device__ void note_best(Rank best, State& state) {
  __shared__ Rank ranks[kThreads / kWarp];
  best = reduce_block(best, Least(), ranks);
  if (threadIdx.x == 0) atomicMax(&state.best_inverted, ~best);
}

__device__ void write_draw(const Drawing& in, int64_t q, int64_t token) {
  const float* stats = in.stats + q * kStatsWidth;
  float* out = in.draw + q * kDrawWidth;
  out[0] = static_cast<float>(token);
  out[1] = in.log_probs[q * in.V + token];
  out[2] = in.logits[q * in.S * in.V + token] - stats[2];
  out[3] = in.logits[((q + 1) * in.S - 1) * in.V + token] - stats[3];
  out[4] = stats[0];
  out[5] = stats[1];
  out[6] = stats[4];
  out[7] = stats[5];
}

__global__ void take_best(Drawing in, Scratch scratch) {
  const int64_t q = blockIdx.y;
  State& state = scratch.states[q];
  Rank best = kNoRank;
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = tile_token(j);
    if (token < in.V) best = Least()(best, rank_of(in.log_probs[q * in.V + token], token));
  }
  note_best(best, state);
  if (!last_block(&state.arrived) || threadIdx.x > 0) return;
  write_draw(in, q, state.best_inverted == ~kNoRank ? 0 : token_of(~state.best_inverted));
}

__global__ void histogram(const float* log_probs, int64_t V, Request request, Scratch scratch) {
  __shared__ Mass amounts[kBins];
  const int64_t q = blockIdx.y;
  State& state = scratch.states[q];
  Mass* bins = scratch.bins + q * kBins;
  const Kept limit = limit_of(request, state);
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) amounts[bin] = 0;
  __syncthreads();
  Rank best = kNoRank;
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = tile_token(j);
    if (token >= V) continue;
    const float log_prob = log_probs[q * V + token];
    const Mass mass = mass_of(log_prob);
    if (mass == 0 || !keeps(limit, log_prob, token)) continue;
    best = Least()(best, rank_of(log_prob, token));
    atomicAdd(&amounts[bin_of(log_prob)], request.by_count ? Mass(1) : mass);
  }
  note_best(best, state);  // and waits for `amounts`
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads)
    if (amounts[bin] > 0) atomicAdd(&bins[bin], amounts[bin]);
  if (!last_block(&state.arrived)) return;

  Mass target = static_cast<Mass>(request.top_k);
  if (!request.by_count) {
    const double whole = static_cast<double>(total_of(bins, kBins));
    target = Largest()(static_cast<Mass>(ceil(static_cast<double>(request.top_p) * whole)), Mass(1));
  }
  const Place cut = find_bin(bins, kBins, target);
  if (threadIdx.x > 0) return;
  const Mass rest = target - cut.before;
  const bool cuts_bin = cut.bin < kBins && bins[cut.bin] > rest;
  state.bin = cut.bin < kBins && !cuts_bin ? cut.bin + 1 : cut.bin;
  state.target = cuts_bin ? rest : 0;
}

struct AnyBit {
  __device__ Rank operator()(Rank a, Rank b) const { return a | b; }
};
__device__ bool same_above(int bits, Rank a, Rank b) { return bits >= 64 || (a ^ b) >> bits == 0; }

// The candidate at which the running sum, in the order of ranks, reaches `target`: at least 1, at most the sum of all.
// By count or by mass. Candidates are narrowed down by digits, from the first bit in which any two differ.
__device__ Rank select(const Rank* candidates, unsigned n, Mass target, bool by_count) {
  __shared__ Mass amounts[kDigits];
  __shared__ unsigned counts[kDigits];
  __shared__ Rank ranks[kThreads / kWarp], only;
  Rank prefix = candidates[0], differ = 0;
  for (unsigned i = threadIdx.x; i < n; i += kThreads) differ |= candidates[i] ^ prefix;
  differ = reduce_block(differ, AnyBit(), ranks);
  int open = differ == 0 ? 0 : 64 - __clzll(static_cast<long long>(differ));  // low bits not known yet
  while (open > 0) {
    const int width = open < kDigitBits ? open : kDigitBits, shift = open - width;
    const Rank mask = (Rank(1) << width) - 1;
    for (int digit = threadIdx.x; digit < kDigits; digit += kThreads) amounts[digit] = counts[digit] = 0;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < n; i += kThreads) {
      const Rank rank = candidates[i];
      if (!same_above(open, rank, prefix)) continue;
      atomicAdd(&amounts[rank >> shift & mask], by_count ? Mass(1) : mass_of(log_prob_of(rank)));
      atomicAdd(&counts[rank >> shift & mask], 1u);
    }
    __syncthreads();
    const Place cut = find_bin(amounts, kDigits, target);
    const bool single = counts[cut.bin] == 1;
    target -= cut.before;
    prefix = (prefix & ~(mask << shift)) | static_cast<Rank>(cut.bin) << shift;
    open = shift;
    __syncthreads();
    if (!single) continue;
    for (unsigned i = threadIdx.x; i < n; i += kThreads)
      if (same_above(open, candidates[i], prefix)) only = candidates[i];
    __syncthreads();
    return only;
  }
  return prefix;
}

__global__ void collect(Drawing in, int tiles, Request request, Scratch scratch) {
  __shared__ Mass sums[kThreads / kWarp], masses[kTile];
  __shared__ Rank ranks[kTile];
  __shared__ unsigned found, start;
  const int64_t q = blockIdx.y, V = in.V;
  const float* line = in.log_probs + q * V;
  State& state = scratch.states[q];
  Rank* candidates = scratch.candidates + q * V;
  const Kept limit = limit_of(request, state);
  const int bin = state.bin;
  const Mass target = state.target;
  const double best_mass = static_cast<double>(mass_of(log_prob_of(~state.best_inverted)));
  const Mass least = Largest()(static_cast<Mass>(ceil(static_cast<double>(request.min_p) * best_mass)), Mass(1));
  if (threadIdx.x == 0) found = 0;
  __syncthreads();
  Mass above = 0;
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = tile_token(j);
    if (token >= V) continue;
    const float log_prob = line[token];
    const Mass mass = mass_of(log_prob);
    if (mass == 0 || !keeps(limit, log_prob, token)) continue;
    if (bin_of(log_prob) < bin && mass >= least) above += mass;
    if (bin_of(log_prob) == bin && target > 0) ranks[atomicAdd(&found, 1u)] = rank_of(log_prob, token);
  }
  above = reduce_block(above, Sum(), sums);  // and waits for `found`
  if (threadIdx.x == 0) {
    scratch.masses[q * tiles + blockIdx.x] = above;
    start = found > 0 ? atomicAdd(&state.candidates, found) : 0;
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < found; i += kThreads) candidates[start + i] = ranks[i];
  if (!last_block(&state.arrived)) return;

  const unsigned n = state.candidates;
  const Kept cut = {bin, n > 0 ? select(candidates, n, target, request.by_count) : 0};
  if (!request.draws) {
    __syncthreads();  // all have read the state
    for (int i = threadIdx.x; i < kBins; i += kThreads) scratch.bins[q * kBins + i] = 0;
    if (threadIdx.x > 0) return;
    state.limit = cut;
    state.candidates = 0;
    return;
  }

  for (int tile = threadIdx.x; tile < tiles; tile += kThreads) masses[tile] = scratch.masses[q * tiles + tile];
  __syncthreads();
  for (unsigned i = threadIdx.x; i < n; i += kThreads) {
    const Mass mass = mass_of(log_prob_of(candidates[i]));
    if (candidates[i] <= cut.last && mass >= least) atomicAdd(&masses[token_of(candidates[i]) / kTile], mass);
  }
  __syncthreads();
  const Mass whole = total_of(masses, tiles);
  if (whole == 0) {
    if (threadIdx.x == 0) write_draw(in, q, 0);
    return;
  }
  // the first kept token, by id, at which the running mass exceeds the uniform number's share of the whole
  const Mass share = static_cast<Mass>(static_cast<double>(in.uniforms[q]) * static_cast<double>(whole));
  const Mass aim = Least()(share, whole - 1) + 1;
  const Place tile = find_bin(masses, tiles, aim);
  for (int i = threadIdx.x; i < kTile; i += kThreads) {
    const int64_t token = static_cast<int64_t>(tile.bin) * kTile + i;
    const float log_prob = token < V ? line[token] : -kInfinity;
    const Mass mass = mass_of(log_prob);
    const bool kept = mass >= least && keeps(limit, log_prob, token) && keeps(cut, log_prob, token);
    masses[i] = kept ? mass : 0;
  }
  __syncthreads();
  const Place place = find_bin(masses, kTile, aim - tile.before);
  if (threadIdx.x == 0) write_draw(in, q, static_cast<int64_t>(tile.bin) * kTile + place.bin);
}

}  // namespace

static_assert(kMostTokens / kTile <= kTile, "the masses of tiles take as much shared memory as those of a tile");

size_t sample_scratch_bytes(int64_t B, int64_t V) {
  const int64_t tiles = ceil_div(V, kTile);
  return B * (sizeof(State) + (kBins + tiles) * sizeof(Mass) + V * sizeof(Rank));
}

void sample(const SampleSettings& settings, const float* log_probs, const float* logits, const float* stats,
            const float* uniforms, int64_t B, int64_t S, int64_t V, float* draw, void* scratch,
            cudaStream_t stream) {
  const auto& [top_k, top_p, min_p, greedy] = settings;
  const int tiles = ceil_div(V, kTile);
  const Scratch parts = layout(scratch, B, tiles);
  const Drawing drawing = {log_probs, logits, stats, uniforms, draw, S, V};
  const dim3 grid(tiles, static_cast<unsigned>(B));
  cudaMemsetAsync(scratch, 0, B * (sizeof(State) + (greedy ? 0 : kBins * sizeof(Mass))), stream);
  if (greedy) {
    SDA_LAUNCH(take_best, grid, kThreads, 0, stream, drawing, parts);
    return;
  }
  const auto cut = [&](const Request& request) {
    SDA_LAUNCH(histogram, grid, kThreads, 0, stream, log_probs, V, request, parts);
    SDA_LAUNCH(collect, grid, kThreads, 0, stream, drawing, tiles, request, parts);
  };
  const bool by_count = top_k > 0 && top_k < V, by_mass = top_p < 1.0f || !by_count;
  if (by_count) cut({true, top_k, top_p, min_p, false, !by_mass});
  if (by_mass) cut({false, top_k, top_p, min_p, by_count, true});
}

}  // namespace cuda
}  // namespace sda
