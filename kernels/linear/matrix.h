// What a tensor of weights is as a matrix [N, K]: float32, bfloat16 or float16 of that shape, or quantised (quantised.h), an
// int32 vector with the bytes of header and blocks.
#pragma once

#include <vector>

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

// The attribute by which an operation is told what the headers of quantised matrices say, where these are a GPU's and the
// host cannot read them: empty, or seven numbers for each of its matrices, zeros for one of floats.
#define SDA_TOLD_SHAPES "quantised: list(int) = []"

class ToldShapes {
 public:
  absl::Status read(OpKernelConstruction* ctx, size_t matrices) {
    std::vector<int64_t> numbers;
    TF_RETURN_IF_ERROR(ctx->GetAttr("quantised", &numbers));
    if (numbers.empty() && ctx->device_type() != tensorflow::DEVICE_GPU) return absl::OkStatus();  // headers are read
    if (numbers.empty()) numbers.resize(kNumbers * matrices);
    if (numbers.size() != kNumbers * matrices)
      return absl::InvalidArgumentError(absl::StrCat("quantised must have ", kNumbers * matrices, " numbers, but has ",
                                                     numbers.size(), "."));
    for (size_t i = 0; i < matrices; i++) {
      const int64_t* n = numbers.data() + kNumbers * i;
      const bool known = (n[0] == 8 || n[0] == 4) && n[1] >= 0 && n[2] >= 0 && n[3] >= 1 && n[1] % n[3] == 0 && n[4] >= 0 &&
                         n[4] < kScaleTypes && n[5] >= 0 && n[5] <= kHalfRange;
      if (n[0] != 0 && !known) return absl::InvalidArgumentError("quantised describes no quantised matrix.");
      shapes_.push_back({static_cast<int>(n[0]), n[1], n[2], n[3], static_cast<ScaleType>(n[4]),
                         static_cast<ZeroPoints>(n[5]), n[6] != 0});
      if (n[0] == 0) shapes_.back().parts = 1;
    }
    return absl::OkStatus();
  }
  // Null where headers are to be read; without bits where the matrix is one of floats.
  const QuantisedShape* of(size_t matrix) const { return shapes_.empty() ? nullptr : &shapes_[matrix]; }

 private:
  static constexpr size_t kNumbers = 7;  // bits, rows, columns, parts, scales, zeros, ordered
  std::vector<QuantisedShape> shapes_;
};

inline int64_t rows_of(const Tensor& weight, const QuantisedShape* told = nullptr) {
  if (!is_quantised(weight)) return weight.dim_size(0);
  return told ? told->N : quantised_shape(weight).N;
}
inline int64_t columns_of(const Tensor& weight, const QuantisedShape* told = nullptr) {
  if (!is_quantised(weight)) return weight.dim_size(1);
  return told ? told->K : quantised_shape(weight).K;
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

// As check_shape for a matrix of weights; -1 stands for any number. A quantised one must have `parts` parts. Where its
// shape is told, its bytes are not read.
inline absl::Status check_matrix(const char* op, const char* input, const Tensor& weight, int64_t N, int64_t K,
                                 int64_t parts = 1, const QuantisedShape* told = nullptr) {
  if (!is_quantised(weight)) return check_shape(op, input, weight, {N, K});
  const bool told_so = told && told->bits > 0 && weight.dims() == 1 && weight.NumElements() * 4 == told->bytes();
  const bool sound = told ? told_so : is_sound(weight);
  if (!sound) return absl::InvalidArgumentError(absl::StrCat(op, ": ", input, " is no quantised matrix."));
  const QuantisedShape shape = told ? *told : quantised_shape(weight);
  if ((N < 0 || shape.N == N) && (K < 0 || shape.K == K) && shape.parts == parts) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(op, ": ", input, " is quantised as [", shape.N, ", ", shape.K, "] in ",
                                                 shape.parts, " parts where [", N, ", ", K, "] in ", parts,
                                                 " is expected."));
}

}  // namespace sda
