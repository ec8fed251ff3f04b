// The phase of project.h for quantised weights.
#pragma once

#include <vector>

#include "dots.h"
#include "packed_rows.h"

namespace sda {

// Rows of x from which on several blocks of weights are met by four rows of x before the next four are: then x, which
// comes from far caches, is read less often.
constexpr int64_t kQuantisedManyRows = 12;
constexpr int64_t kQuantisedManyBlocks = 4;

// `project_phase` for a quantised matrix; parts are the blocks there.
template <typename Emit>
Phase quantised_phase(const Tensor& weight, const PackedRows& packed, const Emit& emit) {
  const QuantisedShape shape = quantised_shape(weight);
  const uint8_t* matrix = quantised_bytes(weight);
  const int64_t M = packed.M, N = shape.N / shape.parts;
  const DotBlock* few = packed.form->dot[shape.scales][shape.bits == 8 ? 0 : 1][shape.has_zeros()];
  const DotBlock wide = shape.bits == 4 ? packed.form->wide[shape.scales][shape.has_zeros()] : nullptr;
  const int64_t group = M >= kQuantisedManyRows ? kQuantisedManyBlocks : 1;
  const int64_t chunk = std::max<int64_t>(1, 32768 / (shape.parts * group * shape.block_bytes()));
  return {(shape.part_blocks() + group - 1) / group, chunk, [=, &packed](int64_t begin, int64_t end) {
            thread_local std::vector<float> products;
            const int64_t ofBlock = M * kQuantRows;
            products.resize(shape.parts * group * ofBlock);
            for (int64_t item = begin; item < end; item++) {
              const int64_t first = item * group, last = std::min(first + group, shape.part_blocks());
              for (int64_t m = 0, rows; m < M; m += rows) {
                rows = wide && M - m >= kQuantisedWide ? kQuantisedWide : std::min<int64_t>(kQuantisedMost, M - m);
                const DotBlock dot = rows == kQuantisedWide ? wide : few[rows - 1];
                const SplitRows x = packed.split.rows(m);
                for (int64_t b = first; b < last; b++) {
                  for (int64_t p = 0; p < shape.parts; p++) {
                    const uint8_t* block = matrix + shape.block_at(p, b * kQuantRows);
                    dot({shape.groups(), block, block + shape.zeros_at(), block + shape.values_at(), M == rows},
                        x, products.data() + ((b - first) * shape.parts + p) * ofBlock + m * kQuantRows, kQuantRows);
                  }
                }
              }
              for (int64_t b = first; b < last; b++) {
                const int64_t n = b * kQuantRows;
                emit(n, ColumnDots{products.data() + (b - first) * shape.parts * ofBlock, M, std::min(kQuantRows, N - n)});
              }
            }
          }};
}

}  // namespace sda
