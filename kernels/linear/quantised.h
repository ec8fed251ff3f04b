// Weights of 8 or 4 bits, in groups of 32 along the depth K with a scale each. Free of TensorFlow.
//
//   8 bits: w = s (u - 128);   4 bits: w = s (u - z / 16), z a byte: the zero point in sixteenths.   s is bfloat16.
//   Bytes of a group: 34 (8.5 bits a weight) and 19 (4.75 bits).
//
// That is what ../quantise makes. Checkpoints of other makers bring scales in float16 or float32 as well, whole zero points
// (w = s (u - z)) or none (z = 128 or 8), and groups of columns that are no neighbours: the header says so, and columns
// then stand in the order of a list behind the blocks. So their weights are carried as they are, to the bit. Scales keep
// their type, as time goes by bytes: instructions of a group, counted in the binary for AVX-512 VNNI, 4 bits and 2 rows, are
// 128 with bfloat16 and zero points, 127 with float16, 125 with float32 (a tenth more bytes), and 118 without zero points.
//
// Arithmetic. A row of x becomes whole numbers of 16 bits with one scale for each group (split_rows.h), so that a group's
// product is a sum of whole numbers, which is exact in int32 in any order: every form of the kernels, on every processor,
// and for any number of rows of x, adds the same numbers. Groups are then added in float32 in their order.
//
// Layout. 16 rows of weights are a block, and a lane of the kernel's vectors is a row: nothing is summed across lanes, and
// the scales of a group are one load. In a block:
//
//   scales  [G][16]; then zero points, where there are any, [G][16] bytes (8 bits: z - 128); padded to a whole cache line
//   values  [G] groups of 8 lines of 64 bytes (4 bits: 4 lines). Line j has for each row the 4 columns 4 j to 4 j + 3;
//           with 4 bits the low halves of its bytes are columns 8 j to 8 j + 3, the high ones 8 j + 4 to 8 j + 7
//
// Why this arithmetic: vector instructions for each 64 bytes of weights, with M rows of x, scales and sums of a group
// shared out among its lines. "fits" is what two cores of 3 GHz at one and a half instructions a cycle can take.
//
//                                             M rows            2 rows   fits
//   bfloat16, float32 multiply-adds           3 + 2 M             7      80 GB/s
//   8 bits widened to float32                 8 + 4 M            16      36 GB/s
//   8 bits, AVX-512 VNNI, x in two bytes      1.4 + 2.9 M         7.2    80 GB/s
//   8 bits, AVX-512 VNNI, x as int16 pairs    3.4 + 2.6 M         8.6    67 GB/s
//   8 bits, vpmaddwd, x as int16 pairs        3.4 + 4.6 M        12.6    46 GB/s
//   4 bits, AVX-512 VNNI, x in two bytes      5.3 + 5.5 M        16      36 GB/s
//
// The third gets as far a byte as bfloat16 does, with half the bytes. vpdpbusd multiplies unsigned by signed bytes: weights
// are the unsigned ones, and 128 times the sum of x is what each group's sum starts below.
#pragma once

#include <cstdint>
#include <cstring>

namespace sda {

constexpr int64_t kQuantGroup = 32;
constexpr int64_t kQuantRows = 16;
constexpr int64_t kQuantLine = 64;

// The type of scales.
enum ScaleType : uint32_t { kBfloat16Scale, kFloat16Scale, kFloat32Scale };
constexpr int kScaleTypes = 3;
// What is taken from u: of 8 bits 128 and of 4 bits a byte in sixteenths; a whole number of the group; half of the range.
enum ZeroPoints : uint32_t { kOwnZeros, kWholeZeros, kHalfRange };

// Stands before the blocks of a matrix, in one line.
struct QuantisedHeader {
  char magic[8];  // kQuantisedMagic
  uint32_t bits;  // 8 or 4
  uint32_t parts;
  uint64_t rows, columns;
  uint32_t scales;   // ScaleType
  uint32_t zeros;    // ZeroPoints
  uint32_t ordered;  // 1: behind the blocks stands, for each place of a row, which column it has: [columns] int32
  uint8_t rest[20];
};
static_assert(sizeof(QuantisedHeader) == kQuantLine, "a line");
constexpr char kQuantisedMagic[8] = {'S', 'D', 'A', 'Q', '3', '2', '.', '1'};

inline int64_t lines_up(int64_t bytes) { return (bytes + kQuantLine - 1) / kQuantLine * kQuantLine; }

// Sizes and places of a matrix [N, K] that is `parts` matrices of N / parts rows, one below the other: each begins with a
// block of its own (gate and up, whose rows are met together).
struct QuantisedShape {
  int bits;
  int64_t N, K, parts;
  ScaleType scales = kBfloat16Scale;
  ZeroPoints zeros = kOwnZeros;
  bool ordered = false;

  int64_t scale_bytes() const { return scales == kFloat32Scale ? 4 : 2; }
  bool has_zeros() const { return zeros == kWholeZeros || (zeros == kOwnZeros && bits == 4); }
  int64_t groups() const { return (K + kQuantGroup - 1) / kQuantGroup; }
  int64_t part_blocks() const { return (N / parts + kQuantRows - 1) / kQuantRows; }
  int64_t zeros_at() const { return groups() * kQuantRows * scale_bytes(); }
  int64_t values_at() const { return lines_up(zeros_at() + (has_zeros() ? groups() * kQuantRows : 0)); }
  int64_t group_bytes() const { return kQuantRows * kQuantGroup * bits / 8; }
  int64_t block_bytes() const { return values_at() + groups() * group_bytes(); }
  int64_t order_at() const { return kQuantLine + parts * part_blocks() * block_bytes(); }
  int64_t bytes() const { return order_at() + (ordered ? lines_up(K * 4) : 0); }
  // Where row n of part p stands: its block's first byte after the header.
  int64_t block_at(int64_t p, int64_t n) const { return kQuantLine + (p * part_blocks() + n / kQuantRows) * block_bytes(); }
};

// Byte of a block's values that has column k of row r, and by how many bits it is shifted.
inline int64_t value_at(const QuantisedShape& shape, int64_t r, int64_t k, int* shift) {
  const int64_t in_line = shape.bits == 8 ? 4 : 8, i = k % kQuantGroup;
  *shift = i % in_line / 4 * 4;
  return k / kQuantGroup * shape.group_bytes() + i / in_line * kQuantLine + r * 4 + i % 4;
}

inline float scale_of(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float scale;
  std::memcpy(&scale, &wide, sizeof(scale));
  return scale;
}

// A finite float16; subnormal ones come out of whole numbers, as threads may take subnormal float32 for 0.
inline float float16_of(uint16_t bits) {
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  const uint32_t size = bits & 0x7fff;
  if (size < 0x0400) return sign * static_cast<float>(size) * 0x1p-24f;
  const uint32_t wide = (size << 13) + (112u << 23);
  float scale;
  std::memcpy(&scale, &wide, sizeof(scale));
  return sign * scale;
}

// Scale `at` of a block.
inline float scale_at(const QuantisedShape& shape, const uint8_t* block, int64_t at) {
  if (shape.scales == kFloat32Scale) {
    float scale;
    std::memcpy(&scale, block + 4 * at, sizeof(scale));
    return scale;
  }
  uint16_t bits;
  std::memcpy(&bits, block + 2 * at, sizeof(bits));
  return shape.scales == kFloat16Scale ? float16_of(bits) : scale_of(bits);
}

// Zero point of a group, whose byte is `zero` where the matrix has such.
inline float zero_of(const QuantisedShape& shape, uint8_t zero) {
  if (!shape.has_zeros()) return shape.bits == 8 ? 128.0f : 8.0f;
  if (shape.zeros == kOwnZeros) return zero / 16.0f;
  return static_cast<float>(shape.bits == 8 ? static_cast<int8_t>(zero) + 128 : zero);
}

// Column that place k of every row has.
inline int64_t column_at(const QuantisedShape& shape, const uint8_t* matrix, int64_t k) {
  if (!shape.ordered) return k;
  int32_t column;
  std::memcpy(&column, matrix + shape.order_at() + 4 * k, sizeof(column));
  return column;
}

// Row n (counted through all parts) of a matrix as float32: K values.
inline void dequantise_row(const QuantisedShape& shape, const uint8_t* matrix, int64_t n, float* to) {
  const int64_t in_part = shape.N / shape.parts, r = n % in_part % kQuantRows;
  const uint8_t* block = matrix + shape.block_at(n / in_part, n % in_part);
  const uint8_t *zeros = block + shape.zeros_at(), *values = block + shape.values_at();
  for (int64_t k = 0; k < shape.K; k++) {
    const int64_t at = k / kQuantGroup * kQuantRows + r;
    int shift;
    const int byte = values[value_at(shape, r, k, &shift)], value = shape.bits == 8 ? byte : byte >> shift & 15;
    const float zero = zero_of(shape, shape.has_zeros() ? zeros[at] : 0);
    to[column_at(shape, matrix, k)] = scale_at(shape, block, at) * (static_cast<float>(value) - zero);
  }
}

}  // namespace sda
