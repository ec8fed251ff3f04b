// Checks of kernels/linear/many.cu against float64 products.

#include "../../kernels/linear/few.h"
#include "../../kernels/linear/many.h"

#include "linear.h"

namespace check {
namespace {

using sda::cuda::WeightType;

struct Case {
  int64_t M, N, K;
  Stored type;
  bool more;  // bias and residual

  std::string name() const {
    return "many rows " + std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K) + ", " +
           type.name() + (more ? ", bias, residual" : "");
  }
};

// x W^T + bias, row by row.
std::vector<double> product(const HostWeights& w, const std::vector<float>& x, const std::vector<float>& bias) {
  const int64_t M = x.size() / w.K;
  std::vector<double> y(M * w.N);
  for (int64_t m = 0; m < M; m++) {
    for (int64_t n = 0; n < w.N; n++) {
      double sum = bias.empty() ? 0 : bias[n];
      for (int64_t k = 0; k < w.K; k++) sum += w.values[n * w.K + k] * x[m * w.K + k];
      y[m * w.N + n] = sum;
    }
  }
  return y;
}

void check_case(const Case& c) {
  if (skipped()) return;
  HostWeights w(c.N, c.K, c.type);
  const std::vector<float> x = normal(c.M * c.K, 1.0f);
  const std::vector<float> bias = c.more ? normal(c.N, 1.0f) : std::vector<float>();
  const std::vector<float> residual = c.more ? normal(c.M * c.N, 1.0f) : std::vector<float>();
  const std::vector<double> both = product(w, x, bias);
  Buffer<float> x_at(x), bias_at(bias), residual_at(residual), y(c.M * c.N);
  Buffer<unsigned char> scratch(sda::cuda::many_scratch_bytes(c.M, c.K));
  const float* const bias_or_none = c.more ? bias_at.data() : nullptr;

  std::vector<double> want = both;
  for (size_t i = 0; i < residual.size(); i++) want[i] += residual[i];
  sda::cuda::linear_many(w.on_device(), x_at.data(), bias_or_none, c.more ? residual_at.data() : nullptr, c.M,
                         y.data(), scratch.data(), nullptr);
  const double apart = difference(y.read(c.name()), want);
  expect(apart <= kTwoParts, c.name(), number(apart));

  if (c.N % 2 == 0) {
    const int64_t I = c.N / 2;
    Buffer<float> gated(c.M * I);
    std::vector<double> silu(c.M * I);
    for (int64_t m = 0; m < c.M; m++) {
      for (int64_t i = 0; i < I; i++) {
        const double gate = both[m * c.N + i];
        silu[m * I + i] = gate / (1 + std::exp(-gate)) * both[m * c.N + I + i];
      }
    }
    sda::cuda::gated_linear_many(w.on_device(2), x_at.data(), bias_or_none, c.M, gated.data(), scratch.data(), nullptr);
    const double off = difference(gated.read(c.name()), silu);
    expect(off <= kTwoParts, "gated " + c.name(), number(off));
  }
  scratch.read(c.name());
}

// A row's result does not depend on how many rows there are, nor on the tiles that those choose.
void check_rows(int64_t N, int64_t K, const Stored& type) {
  HostWeights w(N, K, type);
  const std::vector<float> x = normal(100 * K, 1.0f);
  const auto first_rows = [&](int64_t M) {
    Buffer<float> x_at(std::vector<float>(x.begin(), x.begin() + M * K)), y(M * N);
    Buffer<unsigned char> scratch(sda::cuda::many_scratch_bytes(M, K));
    sda::cuda::linear_many(w.on_device(), x_at.data(), nullptr, nullptr, M, y.data(), scratch.data(), nullptr);
    std::vector<float> rows = y.read("many rows");
    rows.resize(33 * N);
    return rows;
  };
  const bool same = std::memcmp(first_rows(33).data(), first_rows(100).data(), 33 * N * sizeof(float)) == 0;
  expect(same, "many rows: the same bits for 33 and 100 rows, " + type.name(), same ? "same" : "different");
}

void time_case(int64_t M, int64_t N, int64_t K) {
  if (!options.timings) return;
  DeviceWeights w(N, K);
  Buffer<float> x(normal(M * K, 1.0f)), y(M * N);
  Buffer<unsigned char> scratch(sda::cuda::many_scratch_bytes(M, K));
  const std::string shape = std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K);
  const double bytes = 2.0 * N * K + 4.0 * M * (N + K);
  const auto many = [&] {
    sda::cuda::linear_many(w.on_device(), x.data(), nullptr, nullptr, M, y.data(), scratch.data(), nullptr);
  };
  const auto few = [&] {
    for (int64_t m = 0; m < M; m += sda::cuda::kFewRows) {
      const int64_t count = std::min(M - m, sda::cuda::kFewRows);
      sda::cuda::linear_few(false, w.on_device(), {x.data() + m * K, count, nullptr, 0.0f}, nullptr, nullptr, y.data() + m * N,
                            nullptr);
    }
  };
  const double us = time_of(many);
  report("many rows bf16 " + shape + ", " + number(2e-6 * M * N * K / us) + " TFLOP/s", us, bytes);
  if (M <= 128) report("few rows bf16 " + shape, time_of(few), bytes);
}

}  // namespace

void linear_many() {
  for (WeightType type : {WeightType::kFloat32, WeightType::kBfloat16, WeightType::kFloat16}) {
    const bool takes = sda::cuda::takes_many({nullptr, type, 1, 1});
    const bool right = takes == (type != WeightType::kFloat32);
    expect(right, "many rows: " + Stored(type).name() + " weights", takes ? "taken" : "not taken");
    if (!takes) continue;
    for (int64_t M : {1, 31, 32, 33, 100, 130}) {
      check_case({M, 38, 96, type, true});
      check_case({M, 5, 8, type, false});
      check_case({M, 134, 67, type, true});  // rows that do not begin at multiples of 16 bytes
      check_case({M, 1, 1, type, false});
    }
    check_case({40, 10, 70, type, false});  // nor ends there, K even
    check_case({70, 260, 296, type, true});
    check_case({2, 40, 4104, type, false});  // so many columns that sums rounded towards zero would show
    check_rows(130, 300, type);
    check_rows(130, 296, type);
  }
  using sda::kFloat16Scale, sda::kFloat32Scale, sda::kHalfRange, sda::kWholeZeros;
  for (const Quantised& form : {Quantised{8}, Quantised{4}, Quantised{4, kFloat16Scale, kWholeZeros},
                                Quantised{8, kFloat32Scale, kWholeZeros}, Quantised{4, kFloat16Scale, kHalfRange}}) {
    for (int64_t M : {1, 31, 33, 130}) {
      check_case({M, 38, 96, form, true});
      check_case({M, 134, 72, form, true});  // columns that are no multiple of a group
      check_case({M, 9, 8, form, false});
    }
    check_case({70, 260, 296, form, true});
    check_case({2, 40, 4104, form, false});
    check_rows(130, 296, form);
  }
  if (!options.large) return;
  check_case({200, 1536, 8960, WeightType::kBfloat16, true});
  check_case({200, 1536, 1536, WeightType::kFloat16, true});
  // those of linear.cu but for the vocabulary's: a prompt needs logits of its last row alone
  const std::vector<std::pair<int64_t, int64_t>> shapes = {
      {2048, 1536}, {17920, 1536}, {1536, 8960}, {12288, 4096}, {22016, 4096}, {4096, 11008}};
  for (const auto& [N, K] : shapes)
    for (int64_t M : {32, 64, 128, 512}) time_case(M, N, K);
}

}  // namespace check
