// Checks of kernels/linear/cuda.cu against float64 products.

#include "linear.h"

namespace check {
namespace {

std::vector<double> expected(const HostWeights& w, const std::vector<float>& x, const std::vector<float>& bias,
                             const std::vector<float>& residual, int64_t M) {
  std::vector<double> y(M * w.N);
  for (int64_t m = 0; m < M; m++) {
    for (int64_t n = 0; n < w.N; n++) {
      double sum = bias.empty() ? 0 : bias[n];
      for (int64_t k = 0; k < w.K; k++) sum += static_cast<double>(w.values[n * w.K + k]) * x[m * w.K + k];
      y[m * w.N + n] = sum + (residual.empty() ? 0 : residual[m * w.N + n]);
    }
  }
  return y;
}

void check_linear(int64_t M, int64_t N, int64_t K, sda::cuda::WeightType type, bool more) {
  const std::string name = "linear " + std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K) +
                           ", " + name_of(type) + (more ? ", bias, residual" : "");
  HostWeights w(N, K, type);
  const std::vector<float> x = normal(M * K, 1.0f);
  const std::vector<float> bias = more ? normal(N, 1.0f) : std::vector<float>();
  const std::vector<float> residual = more ? normal(M * N, 1.0f) : std::vector<float>();
  Buffer<float> x_at(x), bias_at(bias), residual_at(residual), y(M * N);
  sda::cuda::linear(w.on_device(), x_at.data(), more ? bias_at.data() : nullptr,
                    more ? residual_at.data() : nullptr, M, y.data(), nullptr);
  const double apart = difference(y.read(name), expected(w, x, bias, residual, M));
  expect(apart <= kLinear, name, number(apart));

  if (N % 2 != 0) return;
  Buffer<float> gated(M * N / 2);
  sda::cuda::gated_linear(w.on_device(), x_at.data(), more ? bias_at.data() : nullptr, M, gated.data(), nullptr);
  const std::vector<double> both = expected(w, x, bias, {}, M);
  std::vector<double> want(M * N / 2);
  for (int64_t m = 0; m < M; m++) {
    for (int64_t i = 0; i < N / 2; i++) {
      const double gate = both[m * N + i];
      want[m * N / 2 + i] = gate / (1 + std::exp(-gate)) * both[m * N + N / 2 + i];
    }
  }
  const double off = difference(gated.read(name), want);
  expect(off <= kLinear, "gated " + name, number(off));
}

void check_norm(int64_t M, int64_t K) {
  const std::string name = "norm " + std::to_string(M) + " x " + std::to_string(K);
  const std::vector<float> x = normal(M * K, 2.0f), norm = normal(K, 1.0f);
  Buffer<float> x_at(x), norm_at(norm), y(M * K);
  sda::cuda::rms_norm(x_at.data(), norm_at.data(), 1e-5f, M, K, y.data(), nullptr);
  std::vector<double> want(M * K);
  for (int64_t m = 0; m < M; m++) {
    double squares = 0;
    for (int64_t k = 0; k < K; k++) squares += static_cast<double>(x[m * K + k]) * x[m * K + k];
    const double scale = 1 / std::sqrt(squares / K + 1e-5);
    for (int64_t k = 0; k < K; k++) want[m * K + k] = x[m * K + k] * scale * norm[k];
  }
  const double apart = difference(y.read(name), want);
  expect(apart <= kLinear, name, number(apart));
}

}  // namespace

void linear() {
  using sda::cuda::WeightType;
  for (WeightType type : {WeightType::kFloat32, WeightType::kBfloat16, WeightType::kFloat16}) {
    for (int64_t M : {1, 2, 3, 8, 16}) {
      check_linear(M, 38, 96, type, true);
      check_linear(M, 5, 64, type, false);
      check_linear(M, 34, 67, type, true);  // rows that do not begin at multiples of 16 bytes
      check_linear(M, 1, 1, type, false);
    }
    check_linear(2, 64, 576, type, true);
  }
  for (int64_t K : {1, 7, 576}) check_norm(3, K);
  if (!kOnDevice) return;
  const std::vector<std::pair<int64_t, int64_t>> shapes = {
      {2048, 1536}, {17920, 1536}, {1536, 8960}, {151936, 1536}, {12288, 4096}, {22016, 4096}, {4096, 11008}};
  for (const auto& [N, K] : shapes) {
    for (int64_t M : {1, 2, 8}) {
      if (M == 2 && N < 20000) check_linear(M, N, K, WeightType::kBfloat16, true);
      HostWeights w(N, K, WeightType::kBfloat16);
      Buffer<float> x(normal(M * K, 1.0f)), y(M * N);
      const sda::cuda::Weights at = w.on_device();
      report("linear bf16 " + std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K),
             time_of([&] { sda::cuda::linear(at, x.data(), nullptr, nullptr, M, y.data(), nullptr); }),
             2.0 * N * K);
    }
  }
}

}  // namespace check
