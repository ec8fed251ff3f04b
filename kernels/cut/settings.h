// What a query says of its cut. Free of TensorFlow.
#pragma once

#include "../sample/settings.h"

namespace sda {

// Columns of a query's settings: CUT_SETTINGS of index.ts.
enum CutSetting : int { kCutTopK, kCutTopP, kCutTemperature, kCutSettings };

// Temperatures are kept above this, so that dividing by one gives a number.
constexpr float kLeastCutTemperature = 1e-6f;

}  // namespace sda
