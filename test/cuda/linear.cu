// Checks of kernels/linear/cuda.cu against float64 products.

#include "../../kernels/linear/few.h"
#include "../../kernels/linear/many.h"
#include "linear.h"

namespace check {
namespace {

std::vector<double> expected(const HostWeights& w, const std::vector<double>& x, const std::vector<float>& bias,
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

// x, normalised where there is a norm.
std::vector<double> normalised(const std::vector<float>& x, const std::vector<float>& norm, int64_t M, int64_t K) {
  std::vector<double> y(x.begin(), x.end());
  for (int64_t m = 0; m < M && !norm.empty(); m++) {
    double squares = 0;
    for (int64_t k = 0; k < K; k++) squares += y[m * K + k] * y[m * K + k];
    const double scale = 1 / std::sqrt(squares / K + 1e-5);
    for (int64_t k = 0; k < K; k++) y[m * K + k] *= scale * norm[k];
  }
  return y;
}

struct Case {
  int64_t M, N, K;
  sda::cuda::WeightType type;
  bool norm, more;  // more: bias and residual
};

void check_linear(const Case& c) {
  if (skipped()) return;
  const auto& [M, N, K, type, has_norm, more] = c;
  const std::string name = "linear " + std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K) +
                           ", " + name_of(type) + (has_norm ? ", norm" : "") + (more ? ", bias, residual" : "");
  HostWeights w(N, K, type);
  const sda::cuda::Weights weights = w.on_device();
  const double tolerance = sda::cuda::takes_many(weights) && sda::cuda::is_worth_many(M, N) ? kTwoParts : kLinear;
  const std::vector<float> none, x = normal(M * K, 1.0f), norm = has_norm ? normal(K, 0.5f, 1) : none;
  const std::vector<float> bias = more ? normal(N, 1.0f) : none, residual = more ? normal(M * N, 1.0f) : none;
  const std::vector<double> from = normalised(x, norm, M, K);
  Buffer<float> x_at(x), norm_at(norm), bias_at(bias), residual_at(residual), y(M * N);
  Buffer<unsigned char> scratch(sda::cuda::linear_scratch_bytes(weights, M));
  const sda::cuda::Rows rows = {x_at.data(), M, has_norm ? norm_at.data() : nullptr, 1e-5f};
  sda::cuda::linear(weights, rows, more ? bias_at.data() : nullptr, more ? residual_at.data() : nullptr, y.data(),
                    scratch.data(), nullptr);
  const double apart = difference(y.read(name), expected(w, from, bias, residual, M));
  expect(apart <= tolerance, name, number(apart));

  if (N % 2 == 0) {
    Buffer<float> gated(M * N / 2);
    sda::cuda::gated_linear(weights, rows, more ? bias_at.data() : nullptr, gated.data(), scratch.data(), nullptr);
    const std::vector<double> both = expected(w, from, bias, {}, M);
    std::vector<double> want(M * N / 2);
    for (int64_t m = 0; m < M; m++) {
      for (int64_t i = 0; i < N / 2; i++) {
        const double gate = both[m * N + i];
        want[m * N / 2 + i] = gate / (1 + std::exp(-gate)) * both[m * N + N / 2 + i];
      }
    }
    const double off = difference(gated.read(name), want);
    expect(off <= tolerance, "gated " + name, number(off));
  }
  scratch.read(name);
}

// A row of x has the same bits whatever other rows there are.
void check_rows(int64_t N, int64_t K, sda::cuda::WeightType type) {
  HostWeights w(N, K, type);
  Buffer<float> x(normal(32 * K, 1.0f)), norm(normal(K, 0.5f, 1));
  const auto first_row = [&](int64_t M) {
    Buffer<float> y(M * N);
    sda::cuda::linear(w.on_device(), {x.data(), M, norm.data(), 1e-5f}, nullptr, nullptr, y.data(), nullptr, nullptr);
    std::vector<float> row = y.read("linear, rows");
    row.resize(N);
    return row;
  };
  const std::vector<float> alone = first_row(1);
  const bool few = sda::cuda::takes_few(w.on_device(), {x.data(), 1, norm.data(), 1e-5f});
  for (int64_t M : few ? std::vector<int64_t>{2, 7, 8, 9, 16, 17, 32} : std::vector<int64_t>{2, 3, 4, 5, 8}) {
    const bool same = std::memcmp(alone.data(), first_row(M).data(), N * sizeof(float)) == 0;
    expect(same, "linear, " + name_of(type) + ": a row alone and among " + std::to_string(M), same ? "same" : "different");
  }
}

// A row of x that is not finite has results that are not, and leaves those of others alone.
void check_not_finite(sda::cuda::WeightType type, float value) {
  const int64_t N = 20, K = 64;
  HostWeights w(N, K, type);
  std::vector<float> x = normal(3 * K, 1.0f);
  const auto product = [&] {
    Buffer<float> x_at(x), y(3 * N);
    sda::cuda::linear(w.on_device(), {x_at.data(), 3, nullptr, 0.0f}, nullptr, nullptr, y.data(), nullptr, nullptr);
    return y.read("linear, not finite");
  };
  const std::vector<float> before = product();
  x[K + 17] = value;
  const std::vector<float> after = product();
  bool right = true;
  for (int64_t i = 0; i < 3 * N; i++) right = right && (i / N == 1 ? !std::isfinite(after[i]) : after[i] == before[i]);
  expect(right, "linear, " + name_of(type) + ": a row with " + number(value) + " alone is not finite", "");
}

}  // namespace

void linear() {
  using sda::cuda::WeightType;
  for (WeightType type : {WeightType::kFloat32, WeightType::kBfloat16, WeightType::kFloat16}) {
    for (int64_t M : {1, 2, 3, 5, 8, 11, 17, 32}) {
      for (bool norm : {false, true}) {
        check_linear({M, 38, 96, type, norm, true});
        check_linear({M, 5, 64, type, norm, false});
        check_linear({M, 34, 67, type, norm, true});  // rows that do not begin at multiples of 16 bytes
        check_linear({M, 1, 1, type, norm, false});
      }
      check_linear({M, 19, 1304, type, true, true});  // several warps a unit, with columns left over
      check_linear({M, 6, 301, type, true, false});
    }
    check_linear({2, 64, 576, type, true, true});
    check_linear({33, 38, 96, type, true, true});  // in groups
    check_linear({33, 138, 96, type, true, true});  // many rows
    check_linear({40, 10, 67, type, true, false});
    check_linear({2, 40, 4104, type, false, false});  // so many columns that sums rounded towards zero would show
    check_not_finite(type, INFINITY);
    check_not_finite(type, NAN);
    check_rows(10, 600, type);
    check_rows(10, 599, type);
    check_rows(40, 4104, type);  // so many columns that each warp has several steps
  }
  if (!options.large) return;
  const std::vector<std::pair<int64_t, int64_t>> shapes = {
      {2048, 1536}, {17920, 1536}, {1536, 8960}, {151936, 1536}, {12288, 4096}, {22016, 4096}, {4096, 11008}};
  for (const auto& [N, K] : shapes) {
    if (N < 20000) check_linear({2, N, K, WeightType::kBfloat16, true, true});
    if (!options.timings) continue;
    DeviceWeights w(N, K);
    for (int64_t M : {1, 2, 8, 32}) {
      Buffer<float> x(normal(M * K, 1.0f)), norm(normal(K, 0.5f, 1)), y(M * N);
      const sda::cuda::Weights at = w.on_device();
      const sda::cuda::Rows rows = {x.data(), M, norm.data(), 1e-5f};
      report("norm, linear bf16 " + std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K),
             time_of([&] { sda::cuda::linear(at, rows, nullptr, nullptr, y.data(), nullptr, nullptr); }), 2.0 * N * K);
    }
  }
}

}  // namespace check
