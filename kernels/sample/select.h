// Top-k, top-p and min-p without sorting the vocabulary, and the draw by inverse transform.
//
// Tokens are ranked by log-probability, equal ones by the lower id. Each cut keeps a prefix of that ranking, so what
// is kept is told by its last token alone: all tokens that rank at or before it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "settings.h"

namespace sda {

struct Candidate {
  float log_prob;
  int32_t id;
  double mass;  // probability relative to the likeliest token's
};

inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.log_prob > b.log_prob || (a.log_prob == b.log_prob && a.id < b.id);
}

struct Cuts {
  int64_t top_k;  // 0 = off
  double top_p;   // >= 1 = off
  double min_p;   // 0 = off
  bool any() const { return top_k > 0 || top_p < 1.0 || min_p > 0.0; }
};

inline double total_mass(const std::vector<Candidate>& candidates) {
  double total = 0.0;
  for (const Candidate& c : candidates) total += c.mass;
  return total;
}

// Up to this many candidates are simply sorted.
constexpr size_t kSortable = 4096;
constexpr int kBuckets = 1024;

// The last token of the shortest prefix of the ranking whose mass reaches `target` (the last of all, if none does).
// Reorders the candidates. Many of them go through a histogram of their log-probabilities first, and only the
// bucket in which the target is reached is sorted.
inline Candidate last_within(std::vector<Candidate>& candidates, double target) {
  double mass = 0.0;
  std::vector<Candidate>* pool = &candidates;
  std::vector<Candidate> bucket;
  if (candidates.size() > kSortable) {
    float high = candidates[0].log_prob, low = high;
    for (const Candidate& c : candidates) {
      high = std::max(high, c.log_prob);
      low = std::min(low, c.log_prob);
    }
    const float scale = high > low ? (kBuckets - 1) / (high - low) : 0.0f;
    const auto bucket_of = [&](const Candidate& c) {
      return static_cast<int>((high - c.log_prob) * scale);
    };
    std::vector<double> masses(kBuckets);
    for (const Candidate& c : candidates) masses[bucket_of(c)] += c.mass;
    int cut = 0;
    while (cut < kBuckets - 1 && mass + masses[cut] < target) mass += masses[cut++];
    for (const Candidate& c : candidates)
      if (bucket_of(c) == cut) bucket.push_back(c);
    // rounding can leave the target to a bucket beyond the last one in use
    if (!bucket.empty()) {
      pool = &bucket;
    } else {
      mass = 0.0;
    }
  }
  const auto equal = [](const Candidate& a, const Candidate& b) { return a.log_prob == b.log_prob; };
  const bool sorted = std::adjacent_find(pool->begin(), pool->end(), [&](const auto& a, const auto& b) {
                        return !equal(a, b) || b.id < a.id;
                      }) == pool->end();
  if (!sorted) std::sort(pool->begin(), pool->end(), ranks_before);
  for (const Candidate& c : *pool) {
    mass += c.mass;
    if (mass >= target) return c;
  }
  return pool->back();
}

// What the cuts say of a set of candidates.
struct Cut {
  bool certain;    // false: the answer lies beyond the candidates; ask again with more of them
  Candidate last;  // the last token kept
};

// Applies the cuts to candidates, which are all tokens above some log-probability (all of the vocabulary's possible
// ones where `complete`); not empty. `all_mass`: the mass of the whole vocabulary.
inline Cut apply_cuts(std::vector<Candidate> candidates, bool complete, double all_mass,
                      const Cuts& cuts) {
  double whole = all_mass;
  if (cuts.top_k > 0) {
    const size_t k = static_cast<size_t>(cuts.top_k);
    if (candidates.size() < k && !complete) return {false, {}};
    if (candidates.size() > k) {
      std::nth_element(candidates.begin(), candidates.begin() + (k - 1), candidates.end(), ranks_before);
      candidates.resize(k);
    }
    whole = total_mass(candidates);
  } else if (complete) {
    whole = total_mass(candidates);
  }
  bool closed = complete || cuts.top_k > 0;  // nothing beyond the candidates can be kept
  if (cuts.min_p > 0.0) {
    const size_t before = candidates.size();
    const double least = cuts.min_p * (1.0 - kCutRounding);
    const auto unlikely = [&](const Candidate& c) { return c.mass < least; };
    candidates.erase(std::remove_if(candidates.begin(), candidates.end(), unlikely), candidates.end());
    closed = closed || candidates.size() < before;
  }
  const double target = cuts.top_p < 1.0 ? cuts.top_p * (1.0 - kCutRounding) * whole : whole * 2.0;
  if (!closed && (cuts.top_p >= 1.0 || total_mass(candidates) < target)) return {false, {}};
  return {true, last_within(candidates, target)};
}

// The first candidate, in id order, among those that rank at or before `last`, whose cumulative mass exceeds
// u times their total.
inline Candidate draw_among(const std::vector<Candidate>& by_id, const Candidate& last, double u) {
  const auto kept = [&](const Candidate& c) { return !ranks_before(last, c); };
  double total = 0.0;
  for (const Candidate& c : by_id)
    if (kept(c)) total += c.mass;
  double cumulative = 0.0;
  Candidate chosen = last;
  for (const Candidate& c : by_id) {
    if (!kept(c)) continue;
    chosen = c;
    cumulative += c.mass;
    if (cumulative > u * total) break;
  }
  return chosen;
}

}  // namespace sda
