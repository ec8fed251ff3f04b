// Draws one token a query on an NVIDIA GPU: op.cc says what, select.h how the cuts are defined, cuda_select.h the ranks
// and masses here.
//
// A cut (top-k by count, top-p by mass) keeps a prefix of the ranking, which its last rank tells. No sort of the
// vocabulary, whose tokens are split into tiles, a block a tile and query:
//   1. clear       the sums that the others add to
//   2. histogram   counts or masses over kBins bins of log-probability
//   3. collect     the bin in which the cut falls, each block for itself; the masses of tiles of tokens above it, whose
//                  own tokens become candidates; a query's last block cuts among the candidates digit by digit (radix),
//                  then draws: over tiles, and within one
// Three launches, two more where top-k and top-p are both on. Greedy takes two: the best of each tile, the best of all.
// Bytes per query and token: 4 a launch but `clear`, from the second-level cache where the step wrote them just before;
// 8 written and some tens read for a candidate: few but where very many tokens are about as likely as the cut.

#include "cuda.h"

#include "../fours.h"
#include "cuda_select.h"

namespace sda {
namespace cuda {
namespace {

using namespace sampling;

constexpr int kTile = kThreads * kPerThread;
constexpr int kBinsPerThread = kBins / kThreads;

// What is known of a query between launches; all of it 0 at first.
struct State {
  Rank best_inverted;   // the complement of the best rank, where min-p is on
  Kept limit;           // what top-k keeps, where top-p follows
  unsigned candidates;  // tokens of the bin in which the cut falls
  unsigned arrived;     // blocks that are done with the launch
};

struct Scratch {
  State* states;     // [B]
  Mass* bins;        // [B, kBins]
  Mass* masses;      // [B, tiles]: above the bin in which the cut falls; where greedy, the best ranks
  Rank* candidates;  // [B, V]
};

Scratch layout(void* memory, int64_t B, int64_t tiles) {
  Scratch scratch;
  scratch.bins = static_cast<Mass*>(memory);
  scratch.states = reinterpret_cast<State*>(scratch.bins + B * kBins);
  scratch.masses = reinterpret_cast<Mass*>(scratch.states + B);
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
  int tiles;
  bool fours;  // of log_probs: see in_fours
};

__device__ Kept limit_of(const Request& request, const State& state) {
  return request.within_limit ? state.limit : Kept{kBins, 0};
}

// The first of a thread's neighbouring tokens of a tile.
__device__ int64_t first_token(int tile) { return static_cast<int64_t>(tile) * kTile + kPerThread * threadIdx.x; }

__device__ void load_tile(const Drawing& in, int64_t q, int tile, float (&log_probs)[kPerThread]) {
  load_four(in.log_probs + q * in.V, first_token(tile), in.V, in.fours, -kInfinity, log_probs);
}

__device__ void write_draw(const Drawing& in, int64_t q, int64_t token) {
  const float* stats = in.stats + q * kStatsWidth;
  // all loads before a store that the compiler could not tell from them
  const float row[kDrawWidth] = {static_cast<float>(token),
                                 in.log_probs[q * in.V + token],
                                 in.logits[q * in.S * in.V + token] - stats[2],
                                 in.logits[((q + 1) * in.S - 1) * in.V + token] - stats[3],
                                 stats[0],
                                 stats[1],
                                 stats[4],
                                 stats[5]};
  for (int i = 0; i < kDrawWidth; i++) in.draw[q * kDrawWidth + i] = row[i];
}

// The best rank of a block's tokens, by its first thread.
__device__ Rank best_of_block(Rank best) {
  __shared__ Rank ranks[kWarps];
  return reduce_block(best, Least(), ranks);
}

__global__ void best_of_tiles(Drawing in, Scratch scratch) {
  await_previous();
  const int64_t q = blockIdx.y;
  float log_probs[kPerThread];
  load_tile(in, q, blockIdx.x, log_probs);
  Rank best = kNoRank;
  for (int j = 0; j < kPerThread; j++) best = Least()(best, rank_of(log_probs[j], first_token(blockIdx.x) + j));
  best = best_of_block(best);
  if (threadIdx.x == 0) scratch.masses[q * in.tiles + blockIdx.x] = best;
}

__global__ void take_best(Drawing in, Scratch scratch) {
  await_previous();
  const int64_t q = blockIdx.x;
  const int tile = threadIdx.x;
  const Rank best = best_of_block(tile < in.tiles ? scratch.masses[q * in.tiles + tile] : kNoRank);
  if (threadIdx.x == 0) write_draw(in, q, best == kNoRank ? 0 : token_of(best));
}

__global__ void clear(Scratch scratch) {
  await_previous();
  const int64_t q = blockIdx.x;
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) scratch.bins[q * kBins + bin] = 0;
  if (threadIdx.x == 0) scratch.states[q] = {};
}

__global__ void histogram(Drawing in, Request request, Scratch scratch) {
  __shared__ Sums<kBins> sums;
  sums.clear();
  await_previous();
  const int64_t q = blockIdx.y;
  State& state = scratch.states[q];
  float log_probs[kPerThread];
  load_tile(in, q, blockIdx.x, log_probs);
  const Kept limit = limit_of(request, state);
  Rank best = kNoRank;
  int bins[kPerThread];
  Mass amounts[kPerThread];
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = first_token(blockIdx.x) + j;
    const Mass mass = mass_of(log_probs[j]);
    const bool counts = mass > 0 && keeps(limit, log_probs[j], token);
    bins[j] = counts ? bin_of(log_probs[j]) : 0;
    amounts[j] = !counts ? 0 : request.by_count ? 1 : mass;
    if (counts) best = Least()(best, rank_of(log_probs[j], token));
  }
  __syncthreads();
  sums.add_all(bins, amounts);
  if (request.min_p > 0.0f) {
    best = best_of_block(best);
    if (threadIdx.x == 0) atomicMax(&state.best_inverted, ~best);
  }
  __syncthreads();
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads)
    if (sums[bin] > 0) atomicAdd(&scratch.bins[q * kBins + bin], sums[bin]);
}

// Where the cut falls: all bins before `bin` are kept, and `rest` of that one.
struct Cut {
  int bin;
  Mass rest;  // 0 where the cut falls between bins
};

__device__ Cut find_cut(const Mass* bins, const Request& request) {
  Mass mine[kBinsPerThread];
  for (int i = 0; i < kBinsPerThread; i++) mine[i] = bins[threadIdx.x * kBinsPerThread + i];
  const Place place = find(mine, [&](Mass whole) {
    if (request.by_count) return static_cast<Mass>(request.top_k);
    return static_cast<Mass>(ceil(static_cast<double>(request.top_p) * static_cast<double>(whole)));
  });
  if (place.index >= kBins) return {kBins, 0};
  const bool within = place.amount > place.rest;
  return {within ? place.index : place.index + 1, within ? place.rest : 0};
}

// The least mass that min-p lets pass.
__device__ Mass least_mass(const Request& request, const State& state) {
  if (request.min_p <= 0.0f) return 1;
  const double best = static_cast<double>(mass_of(log_prob_of(~state.best_inverted)));
  return Largest()(static_cast<Mass>(ceil(static_cast<double>(request.min_p) * best)), Mass(1));
}

// Draws from what both cuts keep; all threads of a block.
__device__ void draw(const Drawing& in, int64_t q, const Kept& limit, const Kept& cut, Mass least, const Rank* ranks,
                     unsigned n, const Mass* above) {
  __shared__ Sums<kThreads> tiles;  // of the candidates
  tiles.clear();
  const float uniform = in.uniforms[q];
  Mass of_tile[] = {static_cast<int>(threadIdx.x) < in.tiles ? above[threadIdx.x] : 0};
  __syncthreads();
  for_each(ranks, n, [&](const Rank (&some)[kPerThread]) {
    int at[kPerThread];
    Mass masses[kPerThread];
    for (int j = 0; j < kPerThread; j++) {
      const Mass mass = some[j] <= cut.last ? mass_of(log_prob_of(some[j])) : 0;
      masses[j] = mass >= least ? mass : 0;
      at[j] = masses[j] > 0 ? token_of(some[j]) / kTile : 0;
    }
    tiles.add_all(at, masses);
  });
  __syncthreads();
  of_tile[0] += tiles[threadIdx.x];
  // the first kept token, by id, at which the running mass exceeds the uniform number's share of the whole
  const Place tile = find(of_tile, [&](Mass whole) {
    const Mass share = static_cast<Mass>(static_cast<double>(uniform) * static_cast<double>(whole));
    return whole == 0 ? 1 : Least()(share, whole - 1) + 1;
  });
  if (tile.whole == 0) {
    if (threadIdx.x == 0) write_draw(in, q, 0);
    return;
  }
  const int chosen = tile.index < in.tiles ? tile.index : in.tiles - 1;
  float log_probs[kPerThread];
  load_tile(in, q, chosen, log_probs);
  Mass masses[kPerThread];
  for (int j = 0; j < kPerThread; j++) {
    const int64_t token = first_token(chosen) + j;
    const Mass mass = mass_of(log_probs[j]);
    const bool kept = mass >= least && keeps(limit, log_probs[j], token) && keeps(cut, log_probs[j], token);
    masses[j] = kept ? mass : 0;
  }
  const Place place = find(masses, [&](Mass) { return tile.rest; });
  if (threadIdx.x > 0) return;
  const int64_t token = static_cast<int64_t>(chosen) * kTile + place.index;
  write_draw(in, q, token < in.V ? token : in.V - 1);
}

__global__ void __launch_bounds__(kThreads, 3) collect(Drawing in, Request request, Scratch scratch) {
  __shared__ Mass sums[kWarps];
  __shared__ Rank ranks[kTile];
  __shared__ unsigned found, start;
  if (threadIdx.x == 0) found = 0;
  await_previous();
  const int64_t q = blockIdx.y;
  State& state = scratch.states[q];
  Rank* candidates = scratch.candidates + q * in.V;
  float log_probs[kPerThread];
  load_tile(in, q, blockIdx.x, log_probs);
  const Kept limit = limit_of(request, state);
  const Mass least = least_mass(request, state);
  const Cut cut = find_cut(scratch.bins + q * kBins, request);  // and waits for `found`
  Mass above = 0;
  bool mine[kPerThread];
  unsigned count = 0;
  for (int j = 0; j < kPerThread; j++) {
    const Mass mass = mass_of(log_probs[j]);
    const bool counts = mass > 0 && keeps(limit, log_probs[j], first_token(blockIdx.x) + j);
    const int bin = counts ? bin_of(log_probs[j]) : kBins;
    if (bin < cut.bin && mass >= least) above += mass;
    mine[j] = bin == cut.bin && cut.rest > 0;
    count += mine[j];
  }
  if (count > 0) {
    unsigned at = atomicAdd(&found, count);
    for (int j = 0; j < kPerThread; j++)
      if (mine[j]) ranks[at++] = rank_of(log_probs[j], first_token(blockIdx.x) + j);
  }
  above = reduce_block(above, Sum(), sums);  // and waits for `found`
  if (threadIdx.x == 0) {
    scratch.masses[q * in.tiles + blockIdx.x] = above;
    if (found > 0) start = atomicAdd(&state.candidates, found);
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < found; i += kThreads) candidates[start + i] = ranks[i];
  if (!last_block(&state.arrived, gridDim.x)) return;

  const unsigned n = state.candidates;
  const Rank* from = candidates;
  if (n <= kTile) {
    for (unsigned i = threadIdx.x; i < n; i += kThreads) ranks[i] = candidates[i];
    from = ranks;
    __syncthreads();
  }
  const Kept kept = {cut.bin, n > 0 ? select(from, n, cut.rest, request.by_count) : 0};
  if (request.draws) return draw(in, q, limit, kept, least, from, n, scratch.masses + q * in.tiles);
  __syncthreads();  // all have read the state
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) scratch.bins[q * kBins + bin] = 0;
  if (threadIdx.x > 0) return;
  state.limit = kept;
  state.candidates = 0;
}

}  // namespace

static_assert(kMostTokens / kTile <= kThreads, "a tile a thread");

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
  const Drawing drawing = {log_probs, logits, stats, uniforms, draw, S, V, tiles, in_fours(log_probs, V)};
  const unsigned queries = static_cast<unsigned>(B);
  const dim3 grid(tiles, queries);
  if (greedy) {
    SDA_LAUNCH(best_of_tiles, grid, kThreads, 0, stream, drawing, parts);
    SDA_LAUNCH(take_best, queries, kThreads, 0, stream, drawing, parts);
    return;
  }
  SDA_LAUNCH(clear, queries, kThreads, 0, stream, parts);
  const auto cut = [&](const Request& request) {
    SDA_LAUNCH(histogram, grid, kThreads, 0, stream, drawing, request, parts);
    SDA_LAUNCH(collect, grid, kThreads, 0, stream, drawing, request, parts);
  };
  const bool by_count = top_k > 0 && top_k < V, by_mass = top_p < 1.0f || !by_count;
  if (by_count) cut({true, top_k, top_p, min_p, false, !by_mass});
  if (by_mass) cut({false, top_k, top_p, min_p, by_count, true});
}

}  // namespace cuda
}  // namespace sda
