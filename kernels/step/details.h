// The statistics of a step that are made on demand alone, over blocks of tokens; and the line of all statistics.
#pragma once

#include "blend.h"
#include "finish.h"

namespace sda {

// What a block adds to them.
struct DetailBlock {
  double js = 0.0;                      // of all streams
  double kept = 0.0;                    // probability in the mask's stream that the mask keeps
  double weighted[kMostStreams] = {};  // sum of P times log of its exponential, of each stream
};

// A stream's part of a token's generalised JS, times S: with r = (P - M) / M, M the mean of all, the sum of
// P log(P / M) is that of M ((1 + r) log(1 + r) - r), none of whose terms is negative.
inline Vec spread_term(Vec p, Vec mean) {
  const Vec some = mean > splat<Vec>(0.0f) ? splat<Vec>(1.0f) / mean : Vec{};
  const Vec r = (p - mean) * some, ratio = r + 1.0f;
  const Vec tiny = splat<Vec>(1e-37f);
  return mean * (select(ratio > tiny, ratio * log_fast(max_of(ratio, tiny)), Vec{}) - r);
}

// `logits`: the query's lines of V numbers.
inline DetailBlock describe(const Query& query, const Blend& blend, const float* logits, int64_t S, int64_t V,
                            int mask_stream, int64_t begin, int64_t end) {
  DetailBlock block;
  Vec js = {}, kept = {}, weighted[kMostStreams] = {};
  float scale[kMostStreams];
  for (int s = 0; s < S; s++) scale[s] = static_cast<float>(1.0 / query.sum[s]);
  for_vectors(
      begin, end,
      [&](int64_t i, int64_t n) {
        Vec p[kMostStreams], mean = {};
        for (int s = 0; s < S; s++) {
          const Vec d = max_of(load_some(logits + s * V + i, n, -kInfinity) - query.largest[s], splat<Vec>(-100.0f));
          p[s] = exp_fast(d) * scale[s];
          mean += p[s];
          weighted[s] += p[s] * d;
        }
        mean = mean * (1.0f / static_cast<float>(S));
        for (int s = 0; s < S; s++) js += spread_term(p[s], mean);
        if (blend.masked)
          kept += select(blend.mask.log_prob(i, n) >= splat<Vec>(blend.least), p[mask_stream], Vec{});
      },
      [&] {
        block.js += sum_lanes(js);
        block.kept += sum_lanes(kept);
        js = kept = Vec{};
        for (int s = 0; s < S; s++) {
          block.weighted[s] += sum_lanes(weighted[s]);
          weighted[s] = Vec{};
        }
      });
  return block;
}

// See kinds.h. Of a query with an unusable logit all is 0 but for the place of it.
inline void write_stats(const Query& query, int64_t S, float* out) {
  const bool sound = query.bad_stream < 0;
  out[kJs] = sound ? static_cast<float>(query.js) : 0.0f;
  out[kTemperature] = sound ? static_cast<float>(query.temperature) : 0.0f;
  out[kBadStream] = static_cast<float>(query.bad_stream);
  out[kBadToken] = static_cast<float>(query.bad_token);
  for (int s = 0; s < S; s++)
    out[kLogZ + s] = sound ? static_cast<float>(query.largest[s] + std::log(query.sum[s])) : 0.0f;
}

inline void write_details(const Query& query, const Blend& blend, const DetailBlock* block, int64_t blocks,
                          const StepKinds& kinds, const float* numbers, int64_t S, float* out) {
  out += step_details(S);
  std::fill_n(out, kEntropies + 2 * S, 0.0f);
  if (query.bad_stream >= 0) return;
  DetailBlock all;
  for (int64_t b = 0; b < blocks; b++) {
    all.js += block[b].js;
    all.kept += block[b].kept;
    for (int s = 0; s < S; s++) all.weighted[s] += block[b].weighted[s];
  }
  out[kScoreEntropy] = static_cast<float>(query.score_entropy);
  out[kGeneralJs] = static_cast<float>(std::min(std::max(all.js / S, 0.0), std::log(static_cast<double>(S))));
  out[kKeptMass] = blend.masked ? static_cast<float>(std::min(all.kept, 1.0)) : 1.0f;
  double rest = blend.total;
  for (int s = 0; s < S; s++) {
    out[kEntropies + s] = static_cast<float>(std::max(std::log(query.sum[s]) - all.weighted[s], 0.0));
    const float weight = s == kinds.anchor ? 0.0f : weight_of(kinds, numbers, s, query.js);
    out[kEntropies + S + s] = weight;
    rest -= weight;
  }
  out[kEntropies + S + kinds.anchor] = static_cast<float>(rest);
}

}  // namespace sda
