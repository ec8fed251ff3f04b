// What a tensor of weights is as a matrix [N, K]: float32, bfloat16 or float16 of that shape, or quantised (quantised.h), an
// int32 vector with the bytes of header and blocks.
#pragma once

#include "../op.h"
#include "quantised.h"

namespace sda {

inline bool is_quantised(const Tensor& weight) { return weight.dtype() == tensorflow::DT_INT32; }

inline const uint8_t* quantised_bytes(const Tensor& weight) {
  return reinterpret_cast<const uint8_t*>(weight.flat<int32_t>().data());
}

// Of a matrix that check_matrix has seen.
inline QuantisedShape quantised_shape(const Tensor& weight) {
  QuantisedHeader header;
  std::memcpy(&header, quantised_bytes(weight), sizeof(header));
  return {static_cast<int>(header.bits), static_cast<int64_t>(header.rows), static_cast<int64_t>(header.columns),
          static_cast<int64_t>(header.parts), static_cast<ScaleType>(header.scales),
          static_cast<ZeroPoints>(header.zeros), header.ordered == 1};
}

inline int64_t rows_of(const Tensor& weight) {
  return is_quantised(weight) ? quantised_shape(weight).N : weight.dim_size(0);
}
inline int64_t columns_of(const Tensor& weight) {
  return is_quantised(weight) ? quantised_shape(weight).K : weight.dim_size(1);
}

// Whether the header fits the tensor.
inline bool is_sound(const Tensor& weight) {
  constexpr uint64_t kMost = uint64_t{1} << 31;
  if (weight.dims() != 1 || weight.NumElements() * 4 < kQuantLine) return false;
  QuantisedHeader header;
  std::memcpy(&header, quantised_bytes(weight), sizeof(header));
  if (std::memcmp(header.magic, kQuantisedMagic, sizeof(header.magic))) return false;
  if ((header.bits != 8 && header.bits != 4) || header.rows > kMost || header.columns > kMost) return false;
  if (header.parts < 1 || header.rows % header.parts) return false;
  if (header.scales >= kScaleTypes || header.zeros > kHalfRange || header.ordered > 1) return false;
  const QuantisedShape shape = quantised_shape(weight);
  if (shape.bytes() != weight.NumElements() * 4) return false;
  for (int64_t k = 0; shape.ordered && k < shape.K; k++) {
    const int64_t column = column_at(shape, quantised_bytes(weight), k);
    if (column < 0 || column >= shape.K) return false;
  }
  return true;
}

// As check_shape for a matrix of weights; -1 stands for any number. A quantised one must have `parts` parts.
inline absl::Status check_matrix(const char* op, const char* input, const Tensor& weight, int64_t N, int64_t K,
                                 int64_t parts = 1) {
  if (!is_quantised(weight)) return check_shape(op, input, weight, {N, K});
  if (!is_sound(weight)) return absl::InvalidArgumentError(absl::StrCat(op, ": ", input, " is no quantised matrix."));
  const QuantisedShape shape = quantised_shape(weight);
  if ((N < 0 || shape.N == N) && (K < 0 || shape.K == K) && shape.parts == parts) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(op, ": ", input, " is quantised as [", shape.N, ", ", shape.K, "] in ",
                                                 shape.parts, " parts where [", N, ", ", K, "] in ", parts,
                                                 " is expected."));
}

}  // namespace sda
