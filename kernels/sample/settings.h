// What SdaSample and SdaCut are told, and the shapes of what they read and write. Free of TensorFlow.
#pragma once

#include <cstdint>

#include "../step/kinds.h"

namespace sda {

// How far the settings of the queries have to be looked at. In the order of GREEDY of settings.ts.
enum class Greedy { kNone, kSome, kAll };
struct SampleKinds {
  bool top_k;  // some queries keep the k likeliest
  Greedy greedy;
};

// Columns of a query's settings: SAMPLE_SETTINGS of index.ts.
enum SampleSetting : int { kTopK, kTopP, kMinP, kGreedy, kSampleSettings };

// Columns of a draw: DRAW of index.ts. The log-probabilities in all streams follow, then the step's statistics.
enum DrawColumn : int { kId, kLogProb, kStreams };
SDA_FN constexpr int64_t draw_width(int64_t S, int64_t stats_width) { return kStreams + S + stats_width; }

// Log-probabilities are rounded to float32, and so are top-p and min-p: a mass that reaches them but for this share
// reaches them. Four equal tokens are two of them at top-p 0.5. CUT_ROUNDING of reference.ts.
constexpr double kCutRounding = 1e-6;

}  // namespace sda
