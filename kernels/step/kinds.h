// What a step can be told: the kinds, attributes of the operation that all queries share, and the columns of the numbers
// that each query has of its own and of what is said of it. Free of TensorFlow.
#pragma once

#include <cstdint>

#include "../math.h"

namespace sda {

constexpr int kMostStreams = 8;

// In the order of MASKS and TEMPERATURES of contract.ts.
enum class Mask { kNone, kPlausible, kLeast };
enum class Temperature { kFixed, kDivergence, kEntropy };

// Places in the operation's attribute `kinds`: kindsOf of index.ts.
enum StepKind : int {
  kAnchor,
  kPair,
  kPairSecond,
  kWeights,
  kMask,
  kMaskStream,
  kTemperatureRule,
  kDetails,
  kStepKinds
};

struct StepKinds {
  int anchor;        // the stream that the score starts from
  int pair[2];       // the streams whose divergence is measured
  bool js_weights;   // weights are multiplied by max(floor, JS)
  Mask mask;
  int mask_stream;
  Temperature temperature;
  bool details;      // statistics beyond what every step needs
};

// Columns of a query's numbers: STEP_NUMBERS of contract.ts. Weights of all streams follow.
enum StepNumber : int {
  kTotal,
  kPositiveFloor,
  kT0,
  kSigma,
  kTMin,
  kWeightFloor,
  kAlpha,
  kEntropyBase,
  kTheta,
  kStepNumbers
};
SDA_FN constexpr int64_t step_numbers_width(int64_t S) { return kStepNumbers + S; }

// Columns of a query's statistics: STEP_STATS and stepDetails of contract.ts. The log Z of all streams follow kBadToken;
// kScoreEntropy and so on are counted from behind those, and the entropies and the weights of all streams end the line.
enum StepStat : int { kJs, kTemperature, kBadStream, kBadToken, kLogZ };
enum StepDetail : int { kScoreEntropy, kGeneralJs, kKeptMass, kEntropies };
SDA_FN constexpr int64_t step_details(int64_t S) { return kLogZ + S; }
SDA_FN constexpr int64_t step_stats_width(int64_t S, bool details) {
  return step_details(S) + (details ? kEntropies + 2 * S : 0);
}

}  // namespace sda
