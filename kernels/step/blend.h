// Pass 2 of a step over blocks of tokens: the divergence of the pair, the score and its mask; see op.cc.
#pragma once

#include "streams.h"

namespace sda {

// What a block says of a query.
struct QueryBlock {
  double js = 0.0;
  float largest = -kInfinity;  // of the score
};

// One stream in the score: L = (x - largest) - log_sum.
struct Term {
  const float* x;
  float largest, log_sum;
  float weight, floor;

  Vec log_prob(int64_t i, int64_t n) const { return (load_some(x + i, n, -kInfinity) - largest) - log_sum; }
};

// How a query's score is made.
struct Blend {
  float total;
  Term anchor;
  Term others[kMostStreams];  // those whose weight is not 0
  int n = 0;
  Term mask;  // tokens whose log_prob is at least `least` are kept
  float least = -kInfinity;
  bool masked = false;
};

// The streams whose divergence is measured: exponentials of a block, and what makes probabilities of them.
struct Pair {
  const float *e1, *e2;
  float scale1, scale2;
};

// `logits`: the query's lines of V numbers; `least`: of its mask, where that is kLeast.
inline Blend blend_of(const StepKinds& kinds, const Query& query, const float* numbers, const float* logits, int64_t S,
                      int64_t V, const float* least) {
  const auto term = [&](int s, float weight) {
    return Term{logits + s * V, query.largest[s], query.log_sum[s], weight, floor_of(weight, numbers)};
  };
  Blend blend;
  blend.total = numbers[kTotal];
  blend.anchor = term(kinds.anchor, 0.0f);
  for (int s = 0; s < S; s++) {
    const float weight = s == kinds.anchor ? 0.0f : weight_of(kinds, numbers, s, query.js);
    if (weight != 0.0f) blend.others[blend.n++] = term(s, weight);
  }
  blend.mask = term(kinds.mask_stream, 0.0f);
  if (kinds.mask == Mask::kLeast) {
    blend.mask.largest = blend.mask.log_sum = 0.0f;  // `least` is a logit
    blend.least = *least;
  } else if (kinds.mask == Mask::kPlausible && numbers[kAlpha] > 0.0f) {
    // the log-probability of the stream's likeliest token is -log_sum
    blend.least = std::log(numbers[kAlpha]) - blend.mask.log_sum;
  }
  blend.masked = kinds.mask == Mask::kLeast || blend.least > -kInfinity;
  return blend;
}

// Any number of streams. The sum can be NaN where weights overflow in both directions: such a token is left out.
inline Vec score_of(const Blend& blend, Vec anchor, int64_t i, int64_t n) {
  Vec score = anchor;
  if (blend.total != 1.0f) score = blend.total * anchor;
  for (int other = 0; other < blend.n; other++) {
    const Term& term = blend.others[other];
    score = pulled(score, term.log_prob(i, n), anchor, term.weight, term.floor);
  }
  return select(score == score, score, splat<Vec>(-kInfinity));
}

// kOne: the total is 1, and one other stream has a weight, as in SDA.
template <bool kDivergence, bool kScore, bool kOne>
QueryBlock blend_block(const Blend& blend, const Pair& pair, int64_t begin, int64_t end, float* y) {
  const Vec impossible = splat<Vec>(-kInfinity);
  // copies, which what is written cannot be one with
  const Term from = blend.anchor, other = blend.others[0], mask = blend.mask;
  const bool masked = blend.masked;
  const float *const at1 = pair.e1, *const at2 = pair.e2;
  const float by1 = pair.scale1, by2 = pair.scale2, least = blend.least;
  QueryBlock part;
  Vec js = {}, peaks = impossible;
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        if constexpr (kDivergence) {
          const Vec p1 = load_some(at1 + i, n, 0.0f) * by1;
          const Vec p2 = load_some(at2 + i, n, 0.0f) * by2;
          if (any(p1 + p2 > splat<Vec>(kLeastMass))) js += js_term(p1, p2, any);
        }
        if constexpr (kScore) {
          const Vec anchor = from.log_prob(i, n);
          Vec score = kOne ? pulled(anchor, other.log_prob(i, n), anchor, other.weight, other.floor)
                           : score_of(blend, anchor, i, n);
          score = select(anchor > impossible, score, impossible);
          if (masked) score = select(mask.log_prob(i, n) >= splat<Vec>(least), score, impossible);
          peaks = max_of(score, peaks);
          store_some(y + i, score, n);
        }
      },
      [&] {
        part.js += sum_lanes(js);
        js = Vec{};
      });
  part.largest = max_lanes(peaks);
  return part;
}

inline QueryBlock divergence(const Pair& pair, int64_t begin, int64_t end) {
  return blend_block<true, false, false>({}, pair, begin, end, nullptr);
}

// `pair`: null where the divergence is known already.
inline QueryBlock score(const Blend& blend, const Pair* pair, int64_t begin, int64_t end, float* y) {
  const bool one = blend.n == 1 && blend.total == 1.0f;
  if (pair) {
    return one ? blend_block<true, true, true>(blend, *pair, begin, end, y)
               : blend_block<true, true, false>(blend, *pair, begin, end, y);
  }
  return one ? blend_block<false, true, true>(blend, {}, begin, end, y)
             : blend_block<false, true, false>(blend, {}, begin, end, y);
}

inline void combine_divergence(const QueryBlock* part, int64_t blocks, Query& query) {
  double js = 0.0;
  for (int64_t b = 0; b < blocks; b++) js += part[b].js;
  query.js = std::min(std::max(js, 0.0), 0.693147180559945309);
}

// `S`: that many streams stand for "none of them" where no token is left, or the weights overflowed.
inline void combine_scores(const QueryBlock* part, int64_t blocks, int64_t S, Query& query) {
  for (int64_t b = 0; b < blocks; b++) query.score_largest = std::max(query.score_largest, part[b].largest);
  if (!(std::abs(query.score_largest) < kInfinity)) query.bad_stream = static_cast<int>(S);
}

}  // namespace sda
