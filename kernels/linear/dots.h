// Products of weight rows with rows of x, as they come from the kernels: one struct an order. `at(block, r, m)` is that of
// row r of a matrix, `block` of those that lie one after the other (gate and up), with row m of x.
#pragma once

#include <cstdint>

namespace sda {

// Of float weights: the rows of x are neighbours.
struct RowDots {
  const float* values;
  int64_t M, count;  // rows of x; of weights
  float at(int64_t block, int64_t r, int64_t m) const { return values[(block * count + r) * M + m]; }
};

// Of quantised weights: the rows of weights are neighbours, always kRows of them, of which the first count are meant.
struct ColumnDots {
  static constexpr int64_t kRows = 16;
  const float* values;
  int64_t M, count;
  const float* line(int64_t block, int64_t m) const { return values + (block * M + m) * kRows; }
  float at(int64_t block, int64_t r, int64_t m) const { return line(block, m)[r]; }
};

}  // namespace sda
