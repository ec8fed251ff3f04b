// The attributes of SdaSample, and the shapes of what it reads and writes.
#pragma once

#include <cstdint>

namespace sda {

struct SampleSettings {
  int64_t top_k;  // 0 = off
  float top_p;    // >= 1 = off
  float min_p;    // 0 = off
  bool greedy;
};

// Log-probabilities are rounded to float32, and so are top-p and min-p: a mass that reaches them but for this share
// reaches them. Four equal tokens are two of them at top-p 0.5. CUT_ROUNDING of reference.ts.
constexpr double kCutRounding = 1e-6;

// Columns of the step's statistics and of a draw: STEP_STATS of ../sda-step/contract.ts and DRAW of index.ts.
constexpr int64_t kStatsWidth = 6, kDrawWidth = 8;

}  // namespace sda
