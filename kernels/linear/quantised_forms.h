// The forms in which products with quantised weights are compiled, one a kind of processor, all in one binary; which of
// them serves is decided when it runs. Free of TensorFlow.
#pragma once

#include <cstdint>
#include <vector>

#include "quantised.h"

namespace sda {

// Bytes of a group of 32 values of x, and of four neighbours in it.
constexpr int64_t kSplitGroupBytes = 64;
constexpr int64_t kSplitFourBytes = 8;
// Rows of x that a form takes at a time.
constexpr int kQuantisedMost = 4;
// The same of 4 bits where the processor has the registers: weights are unpacked half as often.
constexpr int kQuantisedWide = 8;

// Rows of x as whole numbers q = x / scale of 16 bits, by groups; see split_rows.h, which makes them.
struct SplitRows {
  const uint8_t* values;   // of row m at m * stride
  int64_t stride, groups;
  const float* scale;      // [M][groups]
  const int32_t* start;    // [M][groups]: the sum of q times what all weights of a matrix have too much, negative
  const float* zero;       // [M][groups]: the sum of q in the units of zero points
};

// Sixteen rows of weights; see quantised.h.
struct QuantisedBlock {
  int64_t groups;
  const void* scales;  // of the matrix's type
  const uint8_t *zeros, *values;
  bool once;  // no more rows of x will meet it: what follows is asked for early
};

// Writes the product of row r with row m of x to out[m * out_stride + r].
using DotBlock = void (*)(const QuantisedBlock& block, const SplitRows& x, float* out, int64_t out_stride);

struct QuantisedForm {
  const char* name;
  bool bytes;  // x in two bytes, else in pairs of int16
  DotBlock dot[kScaleTypes][2][2][kQuantisedMost];  // [type of scales][8 or 4 bits][without or with zeros][rows of x - 1]
  DotBlock wide[kScaleTypes][2];  // of 4 bits and kQuantisedWide rows of x; null where it has none
};

// The form that serves: the fastest that the processor has, or the one that SDA_ISA names where it has that one.
const QuantisedForm& quantised_form();

// Names of the forms that this processor has, the fastest first.
std::vector<const char*> quantised_form_names();

}  // namespace sda
