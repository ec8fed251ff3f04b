// Draws one token a query on an NVIDIA GPU: op.cc says what, select.h how the cuts are defined.
//
// Tokens are ranked by log-probability, equal ones by the lower id; a token's rank is one 64-bit number. A cut (top-k by
// count, top-p by mass) keeps a prefix of the ranking, which its last rank tells. No sort of the vocabulary:
//   1. peaks       the best rank of each tile of tokens
//   2. histogram   counts and masses over kBins bins of distance to the likeliest token
//   3. collect     the bin in which the cut falls: its tokens become candidates; the masses of tiles above it
//   4. finish      the cut among the candidates, digit by digit (radix); then, over tiles and within one, the draw
// 2 to 4 run once for top-k (finish then only sets the limit) and once for top-p and the draw; without cuts 2 is left out.
// Bytes per query and token: 4 per launch, from the second-level cache but the first time. Masses are whole numbers in
// units of 2^-44 of the likeliest token's: sums by atomics do not depend on their order.

#include "cuda.h"

#include "../math.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;
constexpr int kTile = kThreads * kPerThread;
constexpr int kFinishThreads = 1024;
constexpr int kBins = 1024;
constexpr float kBinsPerNat = 10.0f;  // the last bin holds everything less likely than e^-102
constexpr int kDigits = 256;
constexpr float kMassUnits = 17592186044416.0f;  // 2^44
constexpr unsigned long long kNoRank = ~0ull;

using Mass = unsigned long long;
using Rank = unsigned long long;

struct State {
  Rank limit;            // the last rank that top-k keeps
  Mass whole;            // mass of what top-k keeps
  unsigned candidates;
};

struct Scratch {
  State* states;         // [B]
  Rank* peaks;           // [B, tiles]
  Mass* masses;          // [B, tiles]: kept for certain
  Mass* bin_mass;        // [B, kBins]
  unsigned* bin_count;   // [B, kBins]
  Rank* candidates;      // [B, V]
};

Scratch layout(void* memory, int64_t B, int64_t V, int64_t tiles) {
  Scratch scratch;
  scratch.states = static_cast<State*>(memory);
  scratch.peaks = reinterpret_cast<Rank*>(scratch.states + B);
  scratch.masses = scratch.peaks + B * tiles;
  scratch.bin_mass = scratch.masses + B * tiles;
  scratch.candidates = scratch.bin_mass + B * kBins;
  scratch.bin_count = reinterpret_cast<unsigned*>(scratch.candidates + B * V);
  return scratch;
}

// Lower is better. Impossible tokens have none.
__device__ Rank rank_of(float log_prob, int64_t token) {
  if (!(log_prob > -kInfinity) || log_prob == kInfinity) return kNoRank;
  const unsigned bits = static_cast<unsigned>(float_to_bits(log_prob + 0.0f));  // -0 becomes 0
  const unsigned ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<Rank>(~ascending) << 32 | static_cast<unsigned>(token);
}
__device__ unsigned token_of_rank(Rank rank) { return static_cast<unsigned>(rank); }

__device__ Mass mass_of(float distance) {
  return static_cast<Mass>(exp_fast(-distance) * kMassUnits);
}
__device__ int bin_of(float distance) {
  return static_cast<int>(min_of(distance * kBinsPerNat, kBins - 1.0f));
}

struct Best {
  Rank rank;
  float log_prob;
};

// The likeliest token of a query; every thread has it.
__device__ Best best_of(const Rank* peaks, int tiles, const float* line) {
  __shared__ Rank ranks[kFinishThreads / kWarp];
  Rank rank = kNoRank;
  for (int t = threadIdx.x; t < tiles; t += blockDim.x) rank = peaks[t] < rank ? peaks[t] : rank;
  rank = reduce_block(rank, Least(), ranks);
  return {rank, rank == kNoRank ? 0.0f : line[token_of_rank(rank)]};
}

// Inclusive sums over the threads of a block, in their order.
template <typename T>
__device__ T scan_block(T value, T* scratch) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int delta = 1; delta < kWarp; delta *= 2) {
    const T before = __shfl_up_sync(kWholeWarp, value, delta);
    if (lane >= delta) value += before;
  }
  if (lane == kWarp - 1) scratch[warp] = value;
  __syncthreads();
  T before = 0;
  for (int w = 0; w < warp; w++) before += scratch[w];
  __syncthreads();
  return value + before;
}

struct Cut {
  int bin;      // where the target is reached; the number of bins where none is
  Mass before;  // amount in the bins before it
};

// The first of n bins (n a multiple of the threads, or fewer) at which the running sum of `amount` reaches `target`.
template <typename Amount>
__device__ Cut find_bin(const Amount* amount, int n, Mass target) {
  __shared__ Mass sums[kFinishThreads / kWarp];
  __shared__ Cut found;
  const int threads = blockDim.x, each = (n + threads - 1) / threads;
  Mass mine = 0;
  for (int i = 0; i < each; i++) {
    const int bin = threadIdx.x * each + i;
    if (bin < n) mine += amount[bin];
  }
  const Mass through = scan_block(mine, sums);
  if (threadIdx.x == threads - 1u) found = {n, through};
  __syncthreads();
  const Mass before = through - mine;
  // the first thread always holds a sum of at least 0: a target of 0 is met by the first bin
  const bool crosses = through >= target && (before < target || threadIdx.x == 0);
  if (crosses && mine + before >= target) {
    Mass sum = before;
    for (int i = 0; i < each; i++) {
      const int bin = threadIdx.x * each + i;
      if (bin >= n) break;
      if (sum + amount[bin] >= target) {
        found = {bin, sum};
        break;
      }
      sum += amount[bin];
    }
  }
  __syncthreads();
  const Cut cut = found;
  __syncthreads();
  return cut;
}

__device__ int64_t tile_token(int j) {
  return static_cast<int64_t>(blockIdx.x) * kTile + j * kThreads + threadIdx.x;
}

__global__ void peaks(const float* log_probs, int64_t V, int tiles, Scratch scratch) {
  __shared__ Rank ranks[kThreads / kWarp];
  const int64_t q = blockIdx.y;
  Rank best = kNoRank;
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = tile_token(j);
    if (token >= V) continue;
    const Rank rank = rank_of(log_probs[q * V + token], token);
    best = rank < best ? rank : best;
  }
  best = reduce_block(best, Least(), ranks);
  if (threadIdx.x == 0) scratch.peaks[q * tiles + blockIdx.x] = best;
  if (blockIdx.x > 0) return;
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) {
    scratch.bin_mass[q * kBins + bin] = 0;
    scratch.bin_count[q * kBins + bin] = 0;
  }
  if (threadIdx.x == 0) scratch.states[q] = {kNoRank - 1, 0, 0};
}

__global__ void histogram(const float* log_probs, int64_t V, int tiles, Scratch scratch) {
  __shared__ Mass masses[kBins];
  __shared__ unsigned counts[kBins];
  const int64_t q = blockIdx.y;
  const float* line = log_probs + q * V;
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) masses[bin] = counts[bin] = 0;
  const Best best = best_of(scratch.peaks + q * tiles, tiles, line);
  const Rank limit = scratch.states[q].limit;
  __syncthreads();
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = tile_token(j);
    if (token >= V || rank_of(line[token], token) > limit) continue;
    const float distance = best.log_prob - line[token];
    atomicAdd(&masses[bin_of(distance)], mass_of(distance));
    atomicAdd(&counts[bin_of(distance)], 1u);
  }
  __syncthreads();
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) {
    if (counts[bin] == 0) continue;
    atomicAdd(&scratch.bin_mass[q * kBins + bin], masses[bin]);
    atomicAdd(&scratch.bin_count[q * kBins + bin], counts[bin]);
  }
}

// What the cut of this turn is.
enum class Turn { kTopK, kTopP, kNone };

struct Request {
  Turn turn;
  unsigned top_k;
  float top_p;
  Mass least;  // min-p, in units of mass
};

__device__ Mass target_of(const Request& request, const State& state, const Mass* bin_mass, Mass* sums) {
  Mass whole = state.whole;
  if (whole == 0) {
    Mass mine = 0;
    for (int bin = threadIdx.x; bin < kBins; bin += blockDim.x) mine += bin_mass[bin];
    whole = reduce_block(mine, Sum(), sums);
  }
  return static_cast<Mass>(ceil(static_cast<double>(request.top_p) * static_cast<double>(whole)));
}

__device__ Cut cut_of(const Request& request, int64_t q, const Scratch& scratch, Mass* target) {
  __shared__ Mass sums[kFinishThreads / kWarp];
  const Mass* bin_mass = scratch.bin_mass + q * kBins;
  if (request.turn == Turn::kNone) return {kBins, 0};
  if (request.turn == Turn::kTopK) {
    *target = request.top_k;
    return find_bin(scratch.bin_count + q * kBins, kBins, *target);
  }
  *target = target_of(request, scratch.states[q], bin_mass, sums);
  return find_bin(bin_mass, kBins, *target);
}

__global__ void collect(const float* log_probs, int64_t V, int tiles, Request request, Scratch scratch) {
  __shared__ Mass sums[kThreads / kWarp];
  __shared__ unsigned found, start;
  __shared__ Rank ranks[kTile];
  const int64_t q = blockIdx.y;
  const float* line = log_probs + q * V;
  if (threadIdx.x == 0) found = 0;
  const Best best = best_of(scratch.peaks + q * tiles, tiles, line);
  Mass target = 0;
  const Cut cut = cut_of(request, q, scratch, &target);
  const Rank limit = scratch.states[q].limit;
  Mass kept = 0;
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = tile_token(j);
    if (token >= V) continue;
    const Rank rank = rank_of(line[token], token);
    if (rank > limit) continue;
    const float distance = best.log_prob - line[token];
    const int bin = bin_of(distance);
    const Mass mass = mass_of(distance);
    if (bin < cut.bin) kept += mass >= request.least ? mass : 0;
    if (bin == cut.bin) ranks[atomicAdd(&found, 1u)] = rank;
  }
  kept = reduce_block(kept, Sum(), sums);  // also waits for `found`
  if (threadIdx.x == 0) {
    scratch.masses[q * tiles + blockIdx.x] = kept;
    start = found > 0 ? atomicAdd(&scratch.states[q].candidates, found) : 0;
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < found; i += kThreads) scratch.candidates[q * V + start + i] = ranks[i];
}

// The rank of the candidate at which the running sum, in the order of ranks, reaches `target`; the last where none does.
// By count where `by_count`, else by mass.
__device__ Rank select(const Rank* candidates, unsigned n, Mass target, bool by_count, const float* line,
                       float largest) {
  __shared__ Mass amounts[kDigits];
  __shared__ Rank ranks[kFinishThreads / kWarp];
  Rank prefix = 0, mask = 0, last = 0;
  for (unsigned i = threadIdx.x; i < n; i += blockDim.x) last = candidates[i] > last ? candidates[i] : last;
  last = reduce_block(last, Largest(), ranks);
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (int digit = threadIdx.x; digit < kDigits; digit += blockDim.x) amounts[digit] = 0;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
      const Rank rank = candidates[i];
      if ((rank & mask) != prefix) continue;
      const Mass amount = by_count ? 1 : mass_of(largest - line[token_of_rank(rank)]);
      atomicAdd(&amounts[rank >> shift & (kDigits - 1)], amount);
    }
    __syncthreads();
    const Cut cut = find_bin(amounts, kDigits, target);
    if (cut.bin == kDigits) return last;
    target -= cut.before;
    prefix |= static_cast<Rank>(cut.bin) << shift;
    mask |= static_cast<Rank>(kDigits - 1) << shift;
  }
  // a digit without mass can meet what is left of a target: the next candidate is meant
  Rank next = kNoRank;
  for (unsigned i = threadIdx.x; i < n; i += blockDim.x)
    if (candidates[i] >= prefix && candidates[i] < next) next = candidates[i];
  next = reduce_block(next, Least(), ranks);
  return next == kNoRank ? last : next;
}

struct Drawing {
  const float *log_probs, *logits, *stats, *uniforms;
  float* draw;
  int64_t S, V;
};

__device__ void write_draw(const Drawing& in, int64_t q, int64_t token) {
  const float* stats = in.stats + q * 6;
  float* out = in.draw + q * 8;
  out[0] = static_cast<float>(token);
  out[1] = in.log_probs[q * in.V + token];
  out[2] = in.logits[q * in.S * in.V + token] - stats[2];
  out[3] = in.logits[((q + 1) * in.S - 1) * in.V + token] - stats[3];
  out[4] = stats[0];
  out[5] = stats[1];
  out[6] = stats[4];
  out[7] = stats[5];
}

__global__ void take_best(Drawing in, int tiles, Scratch scratch) {
  const int64_t q = blockIdx.x;
  const Best best = best_of(scratch.peaks + q * tiles, tiles, in.log_probs + q * in.V);
  if (threadIdx.x == 0) write_draw(in, q, best.rank == kNoRank ? 0 : token_of_rank(best.rank));
}

__global__ void finish(Drawing in, int tiles, Request request, Scratch scratch) {
  __shared__ Mass sums[kFinishThreads / kWarp];
  __shared__ int chosen;
  const int64_t q = blockIdx.x;
  const float* line = in.log_probs + q * in.V;
  State& state = scratch.states[q];
  const Best best = best_of(scratch.peaks + q * tiles, tiles, line);
  if (best.rank == kNoRank) {
    if (threadIdx.x == 0 && request.turn != Turn::kTopK) write_draw(in, q, 0);
    return;
  }
  Mass target = 0;
  const Cut cut = cut_of(request, q, scratch, &target);
  const Rank* candidates = scratch.candidates + q * in.V;
  const unsigned n = state.candidates;
  const Rank limit = state.limit;
  Rank last = limit;
  if (cut.bin < kBins)
    last = select(candidates, n, target - cut.before, request.turn == Turn::kTopK, line, best.log_prob);

  Mass* masses = scratch.masses + q * tiles;
  for (unsigned i = threadIdx.x; i < n; i += kFinishThreads) {
    if (candidates[i] > last) continue;
    const unsigned token = token_of_rank(candidates[i]);
    const Mass mass = mass_of(best.log_prob - line[token]);
    if (mass >= request.least) atomicAdd(&masses[token / kTile], mass);
  }
  __syncthreads();
  const Mass mine = static_cast<int>(threadIdx.x) < tiles ? masses[threadIdx.x] : 0;
  const Mass through = scan_block(mine, sums);
  const Mass whole = reduce_block(mine, Sum(), sums);
  if (request.turn == Turn::kTopK) {
    for (int bin = threadIdx.x; bin < kBins; bin += kFinishThreads)
      scratch.bin_mass[q * kBins + bin] = scratch.bin_count[q * kBins + bin] = 0;
    if (threadIdx.x == 0) state = {last, whole, 0};
    return;
  }

  // the first kept token, by id, at which the running mass exceeds the uniform number's share of the whole
  const Mass share = static_cast<Mass>(static_cast<double>(in.uniforms[q]) * static_cast<double>(whole));
  const Mass aim = share < whole ? share : whole - 1;
  __syncthreads();
  if (through > aim && through - mine <= aim) chosen = static_cast<int>(threadIdx.x);
  __syncthreads();
  const int tile = chosen;
  // sums in front of the tile, from the thread that has them
  __shared__ Mass in_front;
  if (static_cast<int>(threadIdx.x) == tile) in_front = through - mine;
  __syncthreads();
  const int64_t token = static_cast<int64_t>(tile) * kTile + threadIdx.x;
  Mass mass = 0;
  if (token < in.V) {
    const Rank rank = rank_of(line[token], token);
    const float distance = best.log_prob - line[token];
    const bool above = rank <= limit && bin_of(distance) < cut.bin;
    if (rank != kNoRank && (above || (rank <= last && rank <= limit))) mass = mass_of(distance);
    if (mass < request.least) mass = 0;
  }
  const Mass sum = in_front + scan_block(mass, sums);
  if (mass > 0 && sum > aim && sum - mass <= aim) write_draw(in, q, token);
}

}  // namespace

static_assert(kTile == kFinishThreads, "a thread a token of the tile that is drawn from");
static_assert(kMostTokens / kTile <= kFinishThreads, "a thread a tile");

size_t sample_scratch_bytes(int64_t B, int64_t V) {
  const int64_t tiles = ceil_div(V, kTile);
  return B * (sizeof(State) + tiles * (sizeof(Rank) + sizeof(Mass)) + kBins * (sizeof(Mass) + sizeof(unsigned)) +
              V * sizeof(Rank));
}

void sample(const SampleSettings& settings, const float* log_probs, const float* logits, const float* stats,
            const float* uniforms, int64_t B, int64_t S, int64_t V, float* draw, void* scratch,
            cudaStream_t stream) {
  const int tiles = ceil_div(V, kTile);
  const Scratch parts = layout(scratch, B, V, tiles);
  const Drawing drawing = {log_probs, logits, stats, uniforms, draw, S, V};
  const dim3 grid(tiles, static_cast<unsigned>(B)), queries(static_cast<unsigned>(B));
  SDA_LAUNCH(peaks, grid, kThreads, 0, stream, log_probs, V, tiles, parts);
  if (settings.greedy) {
    SDA_LAUNCH(take_best, queries, kThreads, 0, stream, drawing, tiles, parts);
    return;
  }
  const auto cut = [&](Turn turn, unsigned top_k, Mass least) {
    const Request request = {turn, top_k, settings.top_p, least};
    if (turn != Turn::kNone) SDA_LAUNCH(histogram, grid, kThreads, 0, stream, log_probs, V, tiles, parts);
    SDA_LAUNCH(collect, grid, kThreads, 0, stream, log_probs, V, tiles, request, parts);
    SDA_LAUNCH(finish, queries, kFinishThreads, 0, stream, drawing, tiles, request, parts);
  };
  if (settings.top_k > 0 && settings.top_k < V) cut(Turn::kTopK, static_cast<unsigned>(settings.top_k), 0);
  const Mass least = static_cast<Mass>(ceil(static_cast<double>(settings.min_p) * kMassUnits));
  cut(settings.top_p < 1.0f ? Turn::kTopP : Turn::kNone, 0, least > 0 ? least : 1);
}

}  // namespace cuda
}  // namespace sda
