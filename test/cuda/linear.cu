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
      for (int64_t k = 0; k < w.K; k++) sum += w.values[n * w.K + k] * x[m * w.K + k];
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

// Of Qwen2.5-1.5B and Llama-2-7B.
const std::vector<std::pair<int64_t, int64_t>> kLargeShapes = {
    {2048, 1536}, {17920, 1536}, {1536, 8960}, {151936, 1536}, {12288, 4096}, {22016, 4096}, {4096, 11008}};

struct Case {
  int64_t M, N, K;
  Stored type;
  bool norm, more;  // more: bias and residual
};

void check_linear(const Case& c) {
  if (skipped()) return;
  const auto& [M, N, K, type, has_norm, more] = c;
  const std::string name = "linear " + std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K) +
                           ", " + type.name() + (has_norm ? ", norm" : "") + (more ? ", bias, residual" : "");
  HostWeights w(N, K, type);
  const sda::cuda::Weights weights = w.on_device();
  const bool many = sda::cuda::takes_many(weights) && sda::cuda::is_worth_many(M, N);
  const double tolerance = many ? kTwoParts : type.is_quantised() ? kQuantised : kLinear;
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
    sda::cuda::gated_linear(w.on_device(2), rows, more ? bias_at.data() : nullptr, gated.data(), scratch.data(), nullptr);
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
void check_rows(int64_t N, int64_t K, const Stored& type) {
  HostWeights w(N, K, type);
  Buffer<float> x(normal(32 * K, 1.0f)), norm(normal(K, 0.5f, 1));
  const sda::cuda::Weights weights = w.on_device();
  const auto first_row = [&](int64_t M) {
    Buffer<float> y(M * N);
    Buffer<unsigned char> scratch(sda::cuda::linear_scratch_bytes(weights, M));
    sda::cuda::linear(weights, {x.data(), M, norm.data(), 1e-5f}, nullptr, nullptr, y.data(), scratch.data(), nullptr);
    std::vector<float> row = y.read("linear, rows");
    row.resize(N);
    return row;
  };
  const std::vector<float> alone = first_row(1);
  const bool few = type.is_quantised() || sda::cuda::takes_few(weights, {x.data(), 1, norm.data(), 1e-5f});
  std::vector<int64_t> numbers = {2, 3, 4, 5, 8};
  if (few) numbers = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 32};
  for (int64_t M : numbers) {
    const bool same = std::memcmp(alone.data(), first_row(M).data(), N * sizeof(float)) == 0;
    expect(same, "linear, " + type.name() + ": a row alone and among " + std::to_string(M), same ? "same" : "different");
  }
}

#if defined(SDA_CUDA_EMULATE)
// Where a block has little shared memory (capability 8.6 and 8.9) and where a launch has more multiprocessors.
void check_other_devices(const Stored& type) {
  const sda::cuda::Device usual = sda::cuda::emulated_device();
  for (const sda::cuda::Device& other : {sda::cuda::Device{86, 2, 99 * 1024}, sda::cuda::Device{90, 7, 227 * 1024}}) {
    sda::cuda::emulated_device() = other;
    for (int64_t M : {2, 5, 16}) check_linear({M, 70, 1304, type, true, true});
  }
  sda::cuda::emulated_device() = usual;
}
#else
void check_other_devices(const Stored&) {}
#endif

// A row of x that is not finite has results that are not, and leaves those of others alone.
void check_not_finite(const Stored& type, float value) {
  const int64_t N = 20, K = 64;
  HostWeights w(N, K, type);
  std::vector<float> x = normal(3 * K, 1.0f);
  const auto product = [&] {
    Buffer<float> x_at(x), y(3 * N);
    Buffer<unsigned char> scratch(sda::cuda::linear_scratch_bytes(w.on_device(), 3));
    sda::cuda::linear(w.on_device(), {x_at.data(), 3, nullptr, 0.0f}, nullptr, nullptr, y.data(), scratch.data(), nullptr);
    return y.read("linear, not finite");
  };
  const std::vector<float> before = product();
  x[K + 17] = value;
  const std::vector<float> after = product();
  bool right = true;
  for (int64_t i = 0; i < 3 * N; i++) right = right && (i / N == 1 ? !std::isfinite(after[i]) : after[i] == before[i]);
  expect(right, "linear, " + type.name() + ": a row with " + number(value) + " alone is not finite", "");
}

}  // namespace

namespace {

// Those of `sda quantise`, of other makers, and what none has but the layout allows.
const std::vector<Quantised> kQuantisedForms = {
    {8},
    {4},
    {4, sda::kFloat16Scale, sda::kWholeZeros},
    {4, sda::kFloat16Scale, sda::kHalfRange},
    {4, sda::kFloat16Scale, sda::kWholeZeros, true},
    {8, sda::kFloat16Scale, sda::kWholeZeros},
    {8, sda::kFloat32Scale, sda::kHalfRange, true},
    {4, sda::kFloat32Scale, sda::kOwnZeros, false, true},
    {8, sda::kBfloat16Scale, sda::kOwnZeros, false, true},
};

void time_quantised(const Quantised& form, int64_t M, int64_t N, int64_t K) {
  DeviceWeights w(N, K, form);
  Buffer<float> x(normal(M * K, 1.0f)), norm(normal(K, 0.5f, 1)), y(M * N);
  const sda::cuda::Weights at = w.on_device();
  Buffer<unsigned char> scratch(sda::cuda::linear_scratch_bytes(at, M));
  const sda::cuda::Rows rows = {x.data(), M, norm.data(), 1e-5f};
  const std::string shape = std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K);
  report("norm, linear " + form.name() + " " + shape,
         time_of([&] { sda::cuda::linear(at, rows, nullptr, nullptr, y.data(), scratch.data(), nullptr); }), w.bytes());
}

}  // namespace

void linear_quantised() {
  for (const Quantised& form : kQuantisedForms) {
    for (int64_t M : {1, 2, 3, 8, 11, 16, 17}) {
      check_linear({M, 38, 96, form, true, true});
      check_linear({M, 5, 64, form, false, false});
      check_linear({M, 36, 67, form, true, true});  // columns that are no multiple of 8, nor of a group
      check_linear({M, 34, 40, form, false, true});
      check_linear({M, 1, 1, form, false, false});
    }
    check_linear({3, 18, 1304, form, true, true});  // several warps a unit, with columns left over
    check_linear({33, 38, 96, form, true, true});   // in groups of rows
    check_linear({70, 138, 104, form, true, true});  // many rows
    check_linear({70, 20, 67, form, true, false});
    check_linear({2, 40, 4104, form, false, false});  // so many columns that sums rounded towards zero would show
    check_not_finite(form, INFINITY);
    check_not_finite(form, NAN);
    check_other_devices(form);
    check_rows(10, 600, form);
    check_rows(10, 599, form);
    check_rows(40, 2056, form);  // so many columns that each warp has several steps
  }
  if (!options.large) return;
  for (const Quantised& form : {Quantised{8}, Quantised{4}}) {
    check_linear({2, 2048, 1536, form, true, true});
    check_linear({16, 1536, 8960, form, true, true});
    for (const auto& [N, K] : kLargeShapes)
      for (int64_t M : {2, 16, 512}) time_quantised(form, M, N, K);
  }
}

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
    check_other_devices(type);
    check_not_finite(type, INFINITY);
    check_not_finite(type, NAN);
    check_rows(10, 600, type);
    check_rows(10, 599, type);
    check_rows(40, 4104, type);  // so many columns that each warp has several steps
  }
  if (!options.large) return;
  for (const auto& [N, K] : kLargeShapes) {
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
