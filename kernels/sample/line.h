// A line of V log-probabilities or logits, searched by all threads in blocks for the tokens that cuts keep.
//
// Passes: the largest value; then the tokens near it (a vector comparison; exponentials only for those). The distance is
// widened until the cut surely lies inside; a usual step needs a few hundred tokens.
#pragma once

#include <cmath>
#include <limits>

#include "../math.h"
#include "../op.h"
#include "select.h"

namespace sda {

class Line {
 public:
  Line(OpKernelContext* ctx, const float* x, int64_t V)
      : ctx_(ctx), x_(x), V_(V), blocks_((V + kBlock - 1) / kBlock), peaks_(blocks_) {
    each_block([&](int64_t b, int64_t begin, int64_t end) { peaks_[b] = largest_of(begin, end); });
    largest_ = *std::max_element(peaks_.begin(), peaks_.end());
  }

  int64_t blocks() const { return blocks_; }
  float largest() const { return largest_; }
  // Whether anything can be drawn from it.
  bool possible() const { return std::abs(largest_) < kInfinity; }

  // The first token with the largest value.
  int64_t best() const {
    const int64_t b = std::find(peaks_.begin(), peaks_.end(), largest_) - peaks_.begin();
    return std::find(x_ + b * kBlock, x_ + V_, largest_) - x_;
  }

  // Candidates in order of their ids, the last kept token among them.
  struct Kept {
    std::vector<Candidate> candidates;
    Candidate last;
  };

  // What the cuts keep of a possible line. Masses are exp((x - largest) * scale), all_mass the sum of all of them.
  Kept keep(const Cuts& cuts, double scale, double all_mass) const {
    for (float distance = kFirstDistance;; distance *= 2.0f) {
      // past float32's range of exp every possible token is a candidate
      const bool complete = distance > 100.0f;
      const float least = complete ? -std::numeric_limits<float>::max()
                                   : largest_ - static_cast<float>(distance / scale);
      std::vector<std::vector<Candidate>> found(blocks_);
      each_block([&](int64_t b, int64_t begin, int64_t end) {
        if (peaks_[b] < least) return;
        find_at_least(begin, end, least, [&](int64_t id) {
          const double mass = std::exp((static_cast<double>(x_[id]) - largest_) * scale);
          found[b].push_back({x_[id], static_cast<int32_t>(id), mass});
        });
      });
      std::vector<Candidate> candidates;
      for (const auto& part : found) candidates.insert(candidates.end(), part.begin(), part.end());
      const Cut cut = apply_cuts(candidates, complete, all_mass, cuts);
      if (cut.certain) return {std::move(candidates), cut.last};
    }
  }

  // Calls work(block, begin, end) for every block, in parallel.
  template <typename Work>
  void each_block(const Work& work) const {
    parallel_for(ctx_, blocks_, 8, [&](int64_t first, int64_t last) {
      for (int64_t b = first; b < last; b++) work(b, b * kBlock, std::min((b + 1) * kBlock, V_));
    });
  }

  static constexpr int64_t kBlock = 4096;

 private:
  // Natural logarithm of how much less likely than the likeliest token a candidate may be, at first.
  static constexpr float kFirstDistance = 9.0f;

  float largest_of(int64_t begin, int64_t end) const {
    Vec peaks = splat<Vec>(-kInfinity);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) peaks = max_of(load(x_ + i), peaks);
    float largest = max_lanes(peaks);
    for (; i < end; i++) largest = max_of(x_[i], largest);
    return largest;
  }

  // Calls found(i) for every i in begin..end with a value of at least `least`, in order.
  template <typename Found>
  void find_at_least(int64_t begin, int64_t end, float least, const Found& found) const {
    const Vec bound = splat<Vec>(least);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      if (!any_lane(load(x_ + i) >= bound)) continue;
      for (int lane = 0; lane < kLanes; lane++)
        if (x_[i + lane] >= least) found(i + lane);
    }
    for (; i < end; i++)
      if (x_[i] >= least) found(i);
  }

  OpKernelContext* const ctx_;
  const float* const x_;
  const int64_t V_, blocks_;
  std::vector<float> peaks_;
  float largest_;
};

}  // namespace sda
