// What the launches of the sampler on a GPU (cuda.cu) work on, what each query asks of them, and the rows that they write.
#pragma once

#include "../fours.h"
#include "cuda.h"
#include "cuda_select.h"

namespace sda {
namespace cuda {
namespace sampling {

constexpr int kTile = kThreads * kPerThread;
constexpr int64_t kMostStats = step_stats_width(kMostStreams, true);

struct Drawing {
  SampleKinds kinds;
  SampleInput from;
  float* draw;
  int tiles;
  bool fours, logits_in_fours;  // see in_fours

  __device__ int64_t width() const { return draw_width(from.S, from.stats_width); }
  __device__ const float* settings(int64_t q) const { return from.settings + q * kSampleSettings; }
  __device__ bool greedy(int64_t q) const {
    return kinds.greedy == Greedy::kAll || (kinds.greedy == Greedy::kSome && settings(q)[kGreedy] != 0.0f);
  }
  __device__ const float* logits(int64_t q, int64_t s) const { return from.logits + (q * from.S + s) * from.V; }
};

// What two launches are to do with a query: cut it by count, as top-k does, or by mass, as top-p.
struct Request {
  bool concerned;
  bool by_count;
  int64_t top_k;
  float top_p, min_p;
  bool within_limit;  // after top-k
  bool draws;         // no other cut follows
};

__device__ inline Request request_of(const Drawing& in, int64_t q, bool by_count) {
  const float* settings = in.settings(q);
  const float top_k = in.kinds.top_k ? settings[kTopK] : 0.0f, top_p = settings[kTopP], min_p = settings[kMinP];
  const bool counts = top_k >= 1.0f && top_k < static_cast<float>(in.from.V), masses = top_p < 1.0f || !counts;
  const bool concerned = !in.greedy(q) && (by_count ? counts : masses);
  return {concerned, by_count, static_cast<int64_t>(counts ? top_k : 0.0f), top_p, min_p, !by_count && counts,
          !by_count || !masses};
}

constexpr int kBinsPerThread = kBins / kThreads;

// Where the cut falls: all bins before `bin` are kept, and `rest` of that one.
struct Cut {
  int bin;
  Mass rest;  // 0 where the cut falls between bins
};

__device__ inline Cut find_cut(const Mass* amounts, const Request& request) {
  Mass mine[kBinsPerThread];
  for (int i = 0; i < kBinsPerThread; i++) mine[i] = amounts[threadIdx.x * kBinsPerThread + i];
  const Place place = find(mine, [&](Mass whole) {
    if (request.by_count) return static_cast<Mass>(request.top_k);
    return static_cast<Mass>(ceil(request.top_p * (1.0 - kCutRounding) * static_cast<double>(whole)));
  });
  if (place.index >= kBins) return {kBins, 0};
  const bool within = place.amount > place.rest;
  return {within ? place.index : place.index + 1, within ? place.rest : 0};
}

struct Tokens {
  float x[kPerThread];  // log-probabilities
};

// The first of a thread's neighbouring tokens of a tile.
__device__ inline int64_t first_token(int tile) { return static_cast<int64_t>(tile) * kTile + kPerThread * threadIdx.x; }

__device__ inline Tokens load_tile(const Drawing& in, int64_t q, int tile) {
  Tokens tokens;
  load_four(in.from.log_probs + q * in.from.V, first_token(tile), in.from.V, in.fours, -kInfinity, tokens.x);
  return tokens;
}

// What is known of a drawn token when its row is written: the logits of the first streams, the others' are loaded then.
constexpr int kKnownLogits = 2;
struct Drawn {
  int64_t token;
  float log_prob, logits[kKnownLogits];
};

// A query's row, a column a thread.
__device__ inline void write_draw(const Drawing& in, int64_t q, const Drawn& drawn, const float* stats) {
  const int64_t i = threadIdx.x, S = in.from.S, s = i - kStreams;
  if (i >= in.width()) return;
  float value;
  if (i == kId) {
    value = static_cast<float>(drawn.token);
  } else if (i == kLogProb) {
    value = drawn.log_prob;
  } else if (s < S) {
    const float logit = s == 0 ? drawn.logits[0] : s == 1 ? drawn.logits[1] : in.logits(q, s)[drawn.token];
    value = logit - stats[kLogZ + s];
  } else {
    value = stats[s - S];
  }
  in.draw[q * in.width() + i] = value;
}

__device__ inline void load_and_write_draw(const Drawing& in, int64_t q, int64_t token) {
  const Drawn drawn = {token, in.from.log_probs[q * in.from.V + token],
                       {in.logits(q, 0)[token], in.logits(q, in.from.S > 1)[token]}};
  write_draw(in, q, drawn, in.from.stats + q * in.from.stats_width);
}

}  // namespace sampling
}  // namespace cuda
}  // namespace sda
