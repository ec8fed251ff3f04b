// Draws one token a query on an NVIDIA GPU: op.cc says what, select.h how the cuts are defined, cuda_select.h the ranks
// and masses here.
//
// A cut (top-k by count, top-p by mass) keeps a prefix of the ranking, which its last rank tells. No sort of the
// vocabulary, whose tokens are split into tiles, a block a tile and query:
//   1. histogram   counts or masses over kBins bins of log-probability
//   2. collect     the bin in which the cut falls, each block for itself; the masses of tiles of tokens above it; its
//                  own tokens become candidates; a query's last block cuts among these, then draws: over tiles, and
//                  within one
// Two launches, two more where some query has a top-k. Greedy takes two: the best of each tile, the best of all. Blocks of
// queries that a launch does not concern end at once.
// Bytes per query and token: 4 a launch, from the second-level cache where the step wrote them just before; 8 written
// and some tens read for a candidate: few but where very many tokens are about as likely as the cut.
//
// A query's last block works alone, so that its chain of loads and barriers is what a draw takes: it loads at once what
// it may need. Of many queries a block takes several tiles, so that all blocks run at once.

#include "cuda.h"

#include "cuda_draw.h"

namespace sda {
namespace cuda {
namespace {

using namespace sampling;

constexpr int kAtOnce = 3, kCollectAtOnce = 2;  // blocks of a multiprocessor: their registers leave room for that
#if defined(SDA_CUDA_EMULATE)
constexpr int64_t kMostQueries = 2;  // so that small cases need several rounds
#else
constexpr int64_t kMostQueries = 64;  // at a time
#endif

// What is known of a query between launches.
struct State {
  Rank best_inverted;           // the complement of the best rank, where min-p is on
  unsigned long long progress;  // blocks that are through with a launch, above 32 bits: tokens of the bin of the cut
  Kept limit;                   // what top-k keeps, where top-p follows
};

// All 0 before and after a draw, but for `limit`: a query's last block leaves them so. Draws on one device follow one
// another, on TensorFlow's stream.
__device__ State states[kMostQueries];
__device__ Mass bins[kMostQueries * kBins];

struct Scratch {
  Mass* masses;      // [queries, tiles]: above the bin in which the cut falls; where greedy, the best ranks
  Rank* candidates;  // [queries, V]
};

__device__ Kept limit_of(const Request& request, const State& state) {
  return request.within_limit ? state.limit : Kept{kBins, 0};
}

// The best rank of a block's tokens, by its first thread.
__device__ Rank best_of_block(Rank best) {
  __shared__ Rank ranks[kWarps];
  return reduce_block(best, Least(), ranks);
}

__global__ void best_of_tiles(Drawing in, Scratch scratch) {
  await_previous();
  const int64_t q = blockIdx.y;
  if (!in.greedy(q)) return;
  const Tokens tokens = load_tile(in, q, blockIdx.x);
  Rank best = kNoRank;
  for (int j = 0; j < kPerThread; j++) best = Least()(best, rank_of(tokens.x[j], first_token(blockIdx.x) + j));
  best = best_of_block(best);
  if (threadIdx.x == 0) scratch.masses[q * in.tiles + blockIdx.x] = best;
}

__global__ void take_best(Drawing in, Scratch scratch) {
  await_previous();
  const int64_t q = blockIdx.x;
  if (!in.greedy(q)) return;
  const int tile = threadIdx.x;
  const Rank best = best_of_block(tile < in.tiles ? scratch.masses[q * in.tiles + tile] : kNoRank);
  load_and_write_draw(in, q, best == kNoRank ? 0 : token_of(best));
}

__global__ void __launch_bounds__(kThreads, kAtOnce) histogram(Drawing in, bool by_count) {
  __shared__ Sums<kBins> sums;
  sums.clear();
  await_previous();
  const int64_t q = blockIdx.y;
  State& state = states[q];
  const auto load = [&](int tile) { return load_tile(in, q, tile); };
  const Tokens begin = load(blockIdx.x);
  const Request request = request_of(in, q, by_count);
  if (!request.concerned) return;
  const Kept limit = limit_of(request, state);
  Rank best = kNoRank;
  __syncthreads();
  for_tiles(in.tiles, begin, load, [&](int tile, const Tokens& tokens, bool) {
    int at[kPerThread];
    Mass amounts[kPerThread];
    for (int j = 0; j < kPerThread; j++) {
      const int64_t token = first_token(tile) + j;
      const Mass mass = mass_of(tokens.x[j]);
      const bool counts = mass > 0 && keeps(limit, tokens.x[j], token);
      at[j] = counts ? bin_of(tokens.x[j]) : 0;
      amounts[j] = !counts ? 0 : request.by_count ? 1 : mass;
      if (counts) best = Least()(best, rank_of(tokens.x[j], token));
    }
    sums.add_all(at, amounts);
  });
  if (request.min_p > 0.0f) {
    best = best_of_block(best);
    if (threadIdx.x == 0) atomicMax(&state.best_inverted, ~best);
  }
  __syncthreads();
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads)
    if (sums[bin] > 0) atomicAdd(&bins[q * kBins + bin], sums[bin]);
}

// The least mass that min-p lets pass.
__device__ Mass least_mass(const Request& request, const State& state) {
  if (request.min_p <= 0.0f) return 1;
  const double best = static_cast<double>(mass_of(log_prob_of(~state.best_inverted)));
  return Largest()(static_cast<Mass>(ceil(request.min_p * (1.0 - kCutRounding) * best)), Mass(1));
}

// The mass of a tile's tokens above the bin of the cut, into `masses`; its tokens of that bin become candidates, a warp
// at a time. All threads call it; `sums` is free again behind the next barrier.
__device__ void split_tile(const Tokens& tokens, int64_t first, const Kept& limit, const Cut& cut, Mass least,
                           State& state, Rank* candidates, Mass* sums, Mass* masses) {
  Mass above = 0;
  bool mine[kPerThread];
  unsigned count = 0;
  for (int j = 0; j < kPerThread; j++) {
    const Mass mass = mass_of(tokens.x[j]);
    const bool counts = mass > 0 && keeps(limit, tokens.x[j], first + j);
    const int bin = counts ? bin_of(tokens.x[j]) : kBins;
    if (bin < cut.bin && mass >= least) above += mass;
    mine[j] = bin == cut.bin && cut.rest > 0;
    count += mine[j];
  }
  const unsigned upto = sum_up_to_lane(count), of_warp = __shfl_sync(kWholeWarp, upto, kWarp - 1);
  if (of_warp > 0) {
    unsigned begin = 0;
    if (lane() == 0) begin = static_cast<unsigned>(atomicAdd(&state.progress, Mass(of_warp)));
    unsigned at = __shfl_sync(kWholeWarp, begin, 0) + upto - count;
    for (int j = 0; j < kPerThread; j++)
      if (mine[j]) candidates[at++] = rank_of(tokens.x[j], first + j);
  }
  above = reduce_warp(above, Sum());
  if (lane() == 0) sums[warp()] = above;
  __syncthreads();
  if (warp() > 0) return;
  above = reduce_warp(lane() < kWarps ? sums[lane()] : 0, Sum());
  if (lane() == 0) *masses = above;
}

// As last_block, with the number of the query's candidates.
__device__ bool last_of_query(State& state, unsigned* candidates) {
  const unsigned long long before = arrive(&state.progress, 1ull << 32);
  *candidates = static_cast<unsigned>(before);
  return before >> 32 == gridDim.x - 1;
}

// Draws from what both cuts keep; all threads of a block. `tiles`: the masses above the bin of the cut.
__device__ void draw(const Drawing& in, int64_t q, const Kept& limit, const Kept& cut, Mass least, float uniform,
                     const float* stats, const Rank* ranks, unsigned n, Sums<kThreads>& tiles) {
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
  const Mass of_tile[] = {tiles[threadIdx.x]};
  // the first kept token, by id, at which the running mass exceeds the uniform number's share of the whole
  const Place place = find(of_tile, [&](Mass whole) {
    const Mass share = static_cast<Mass>(static_cast<double>(uniform) * static_cast<double>(whole));
    return whole == 0 ? 1 : Least()(share, whole - 1) + 1;
  });
  if (place.whole == 0) {
    load_and_write_draw(in, q, 0);
    return;
  }
  // the logits too, of which one token's are told: it is known only a load later
  const int tile = place.index;
  const int64_t first = first_token(tile);
  const Tokens tokens = load_tile(in, q, tile);
  float logits[kKnownLogits][kPerThread];
  load_four(in.logits(q, 0), first, in.from.V, in.logits_in_fours, 0.0f, logits[0]);
  load_four(in.logits(q, in.from.S > 1), first, in.from.V, in.logits_in_fours, 0.0f, logits[1]);
  Mass masses[kPerThread];
  for (int j = 0; j < kPerThread; j++) {
    const Mass mass = mass_of(tokens.x[j]);
    const bool kept = mass >= least && keeps(limit, tokens.x[j], first + j) && keeps(cut, tokens.x[j], first + j);
    masses[j] = kept ? mass : 0;
  }
  const int index = find(masses, [&](Mass) { return place.rest; }).index;
  __shared__ Drawn drawn;
  for (int j = 0; j < kPerThread; j++)
    if (index == static_cast<int>(threadIdx.x) * kPerThread + j)
      drawn = {first + j, tokens.x[j], {logits[0][j], logits[1][j]}};
  __syncthreads();
  write_draw(in, q, drawn, stats);
}

__global__ void __launch_bounds__(kThreads, kCollectAtOnce) collect(Drawing in, bool by_count, Scratch scratch) {
  __shared__ Mass sums[2][kWarps];
  __shared__ Rank ranks[kTile];
  __shared__ Sums<kThreads> of_tiles;
  __shared__ float stats[kMostStats];
  await_previous();
  const int64_t q = blockIdx.y;
  State& state = states[q];
  Rank* const candidates = scratch.candidates + q * in.from.V;
  Mass* const masses = scratch.masses + q * in.tiles;
  const auto load = [&](int tile) { return load_tile(in, q, tile); };
  const Tokens begin = load(blockIdx.x);
  const Request request = request_of(in, q, by_count);
  if (!request.concerned) return;
  const Kept limit = limit_of(request, state);
  const Mass least = least_mass(request, state);
  const Cut cut = find_cut(bins + q * kBins, request);
  for_tiles(in.tiles, begin, load, [&](int tile, const Tokens& tokens, bool odd) {
    split_tile(tokens, first_token(tile), limit, cut, least, state, candidates, sums[odd], masses + tile);
  });
  unsigned n;
  if (!last_of_query(state, &n)) return;

  const int i = threadIdx.x;
  const float uniform = in.from.uniforms[q];
  const Mass of_tile = i < in.tiles ? masses[i] : 0;
  const Rank* from = candidates;
  if (n <= kTile) {
    for (unsigned at = i; at < n; at += kThreads) ranks[at] = candidates[at];
    from = ranks;
  }
  if (i < in.from.stats_width) stats[i] = in.from.stats[q * in.from.stats_width + i];
  of_tiles.set(i, of_tile);
  for (int bin = i; bin < kBins; bin += kThreads) bins[q * kBins + bin] = 0;
  if (i == 0) state.progress = 0;
  Kept kept = {cut.bin, 0};
  if (n > 0 && n <= kFew) {
    kept.last = select_few(from, n, cut.rest, request.by_count);
  } else if (n > 0) {
    __syncthreads();
    kept.last = select(from, n, cut.rest, request.by_count);
  }
  if (request.draws) {
    if (i == 0) state.best_inverted = 0;
    draw(in, q, limit, kept, least, uniform, stats, from, n, of_tiles);
  } else if (i == 0) {
    state.limit = kept;
  }
}

}  // namespace

static_assert(kMostTokens / kTile <= kThreads, "a tile a thread");

size_t sample_scratch_bytes(int64_t B, int64_t V) {
  return (B < kMostQueries ? B : kMostQueries) * (ceil_div(V, kTile) * sizeof(Mass) + V * sizeof(Rank));
}

void sample(const SampleKinds& kinds, const SampleInput& in, float* draw, void* scratch, cudaStream_t stream) {
  const auto& [log_probs, logits, stats, settings, uniforms, B, S, V, width] = in;
  const int tiles = ceil_div(V, kTile);
  for (int64_t q = 0; q < B; q += kMostQueries) {
    const unsigned queries = static_cast<unsigned>(B - q < kMostQueries ? B - q : kMostQueries);
    Mass* const masses = static_cast<Mass*>(scratch);
    const Scratch parts = {masses, masses + queries * tiles};
    const SampleInput some = {log_probs + q * V, logits + q * S * V, stats + q * width, settings + q * kSampleSettings,
                              uniforms + q,      queries,            S,                 V,
                              width};
    const Drawing drawing = {kinds, some, draw + q * draw_width(S, width), tiles, in_fours(log_probs, V),
                             in_fours(logits, V)};
    if (kinds.greedy != Greedy::kNone) {
      SDA_LAUNCH(best_of_tiles, dim3(tiles, queries), kThreads, 0, stream, drawing, parts);
      SDA_LAUNCH(take_best, queries, kThreads, 0, stream, drawing, parts);
    }
    if (kinds.greedy == Greedy::kAll) continue;
    const dim3 counting(blocks_of(tiles, queries, kAtOnce), queries);
    const dim3 collecting(blocks_of(tiles, queries, kCollectAtOnce), queries);
    const auto cut = [&](bool by_count) {
      SDA_LAUNCH(histogram, counting, kThreads, 0, stream, drawing, by_count);
      SDA_LAUNCH(collect, collecting, kThreads, 0, stream, drawing, by_count, parts);
    };
    if (kinds.top_k) cut(true);
    cut(false);
  }
}

}  // namespace cuda
}  // namespace sda
