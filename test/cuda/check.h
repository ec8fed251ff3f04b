// The frame of the checks: buffers with guards, comparisons, timings, and the count at the end.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "../../kernels/device.h"

namespace check {

// How far a result may be from float64, each with its reason.
constexpr double kJs = 1e-6;             // nats, absolute: V float32 terms
constexpr double kTemperature = 1e-5;    // relative: 0.5^(JS / sigma) multiplies an error of JS of 1e-7 by up to 69
constexpr double kLogProb = 1e-5;        // relative to its size and at least 1: rounding of logits, times strength / T
constexpr double kRounding = 2.4e-7;      // of the two float32 operations of eq 5, 2^-23 each
constexpr double kProbability = 1e-6;    // absolute
constexpr double kCumulative = 2e-6;     // of a draw's place in the cumulative mass: float32 exponentials
constexpr double kLinear = 2e-5;         // relative to the largest value: float32 sums in another order
constexpr double kQuantised = 1e-5;      // the same: what quantised weights stand for, with all bits of x
constexpr double kTwoParts = 2.3e-5;      // the same: x in two parts 2^-17, and the product of low parts left out 2^-16
constexpr double kLayer = 5e-5;          // the same through a layer's eight products and sums

inline int passed = 0, failed = 0;
inline std::vector<std::string> failures;

// One line a case.
inline void expect(bool holds, const std::string& name, const std::string& found) {
  (holds ? passed : failed)++;
  if (!holds) failures.push_back(name + "  " + found);
  if (!holds || std::getenv("SDA_VERBOSE")) std::printf("%s  %s  %s\n", holds ? "ok  " : "FAIL", name.c_str(), found.c_str());
}

inline std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text;
}

// What the command line asks for. Large shapes and timings need a device.
struct Options {
#if defined(SDA_CUDA_EMULATE)
  bool large = false, timings = false;
#else
  bool large = true, timings = true;
#endif
  int every = 1;  // of the cases that ask skipped(), one in so many
};
inline Options options;

// Whether a case is left out.
inline bool skipped() {
  static int cases = 0;
  return cases++ % options.every != 0;
}

#if !defined(SDA_CUDA_EMULATE)
// Ends the program where CUDA reports an error: of this call, of a launch that was refused, or of a kernel before.
inline void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) error = cudaGetLastError();
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s failed: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}
#endif

// Device memory between guards that no kernel may touch.
template <typename T>
class Buffer {
 public:
  explicit Buffer(const std::vector<T>& values) : size_(values.size()) {
    std::vector<T> all(size_ + 2 * kGuard);
    std::memset(static_cast<void*>(all.data()), 0xa5, all.size() * sizeof(T));
    std::copy(values.begin(), values.end(), all.begin() + kGuard);
    upload(all);
  }
  explicit Buffer(size_t size) : size_(size) { allocate(); }
  Buffer(const Buffer&) = delete;
  ~Buffer() { release(); }

  T* data() { return memory_ + kGuard; }
  size_t size() const { return size_; }

  // The values, after a look at the guards.
  std::vector<T> read(const std::string& name) {
    std::vector<T> all = download();
    std::vector<unsigned char> guard(kGuard * sizeof(T), 0xa5);
    const bool whole = std::memcmp(all.data(), guard.data(), guard.size()) == 0 &&
                       std::memcmp(all.data() + kGuard + size_, guard.data(), guard.size()) == 0;
    if (!whole) expect(false, name, "wrote outside its memory");
    return std::vector<T>(all.begin() + kGuard, all.end() - kGuard);
  }

 private:
  static constexpr size_t kGuard = 256 / sizeof(T);

#if defined(SDA_CUDA_EMULATE)
  void allocate() {
    std::vector<T> all(size_ + 2 * kGuard);
    std::memset(static_cast<void*>(all.data()), 0xa5, all.size() * sizeof(T));
    upload(all);
  }
  void upload(const std::vector<T>& all) { host_ = all; memory_ = host_.data(); }
  std::vector<T> download() { return host_; }
  void release() {}
  std::vector<T> host_;
#else
  void allocate() {
    const size_t bytes = (size_ + 2 * kGuard) * sizeof(T);
    must(cudaMalloc(&memory_, bytes), "cudaMalloc");
    must(cudaMemset(memory_, 0xa5, bytes), "cudaMemset");
  }
  void upload(const std::vector<T>& all) {
    must(cudaMalloc(&memory_, all.size() * sizeof(T)), "cudaMalloc");
    must(cudaMemcpy(memory_, all.data(), all.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  std::vector<T> download() {
    std::vector<T> all(size_ + 2 * kGuard);
    must(cudaDeviceSynchronize(), "a kernel");
    must(cudaMemcpy(all.data(), memory_, all.size() * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return all;
  }
  void release() { cudaFree(memory_); }
#endif
  size_t size_;
  T* memory_ = nullptr;
};

#if !defined(SDA_CUDA_EMULATE)
// Reads so much memory that the caches hold nothing else, and keeps the device busy while what is timed is launched.
void sweep();
#endif

// Median time of `work` on the device, microseconds, its data not in the caches: of once, or of each of `times` in a row.
// 0 where no timings are asked for.
inline double time_of(const std::function<void()>& work, int times = 1) {
#if defined(SDA_CUDA_EMULATE)
  (void)work, (void)times;
  return 0.0;
#else
  if (!options.timings) return 0.0;
  const int runs = times > 1 ? 20 : 200, warm = times > 1 ? 3 : 20;
  cudaEvent_t from, to;
  must(cudaEventCreate(&from), "cudaEventCreate");
  must(cudaEventCreate(&to), "cudaEventCreate");
  std::vector<float> found;
  for (int i = 0; i < runs + warm; i++) {
    sweep();
    cudaEventRecord(from);
    for (int t = 0; t < times; t++) work();
    cudaEventRecord(to);
    must(cudaEventSynchronize(to), "what is timed");
    float ms = 0;
    must(cudaEventElapsedTime(&ms, from, to), "cudaEventElapsedTime");
    if (i >= warm) found.push_back(ms * 1000 / times);
  }
  cudaEventDestroy(from);
  cudaEventDestroy(to);
  std::nth_element(found.begin(), found.begin() + runs / 2, found.end());
  return found[runs / 2];
#endif
}

// Median time that the host takes to launch `work`, microseconds, with nothing on its way; 0 where no timings are asked
// for.
inline double launch_time_of(const std::function<void()>& work) {
#if defined(SDA_CUDA_EMULATE)
  (void)work;
  return 0.0;
#else
  if (!options.timings) return 0.0;
  std::vector<double> found;
  for (int i = 0; i < 21; i++) {
    must(cudaDeviceSynchronize(), "what is timed");
    const auto from = std::chrono::steady_clock::now();
    work();
    found.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - from).count());
  }
  must(cudaDeviceSynchronize(), "what is timed");
  std::nth_element(found.begin(), found.begin() + 10, found.end());
  return found[10];
#endif
}

// Bytes a microsecond that the device copies (read and written), measured once.
double bandwidth();

// A line of the table of timings: `bytes` are those that must touch memory; 0 where there is no such limit.
void report(const std::string& name, double microseconds, double bytes);

// Fills device memory with random values, about normal; bfloat16 or float32.
void fill(uint16_t* to, size_t n, float spread);
void fill(float* to, size_t n, float spread);

inline std::mt19937& dice() {
  static std::mt19937 generator(20);
  return generator;
}
inline std::vector<float> normal(size_t n, float spread, float mean = 0) {
  std::normal_distribution<float> draw(mean, spread);
  std::vector<float> values(n);
  for (float& value : values) value = draw(dice());
  return values;
}

// The largest difference, relative to the largest expected value.
inline double difference(const std::vector<float>& found, const std::vector<double>& expected) {
  double most = 1e-30, apart = 0;
  for (double value : expected) most = std::max(most, std::fabs(value));
  for (size_t i = 0; i < expected.size(); i++) {
    const double d = std::fabs(found[i] - expected[i]);
    apart = d == d ? std::max(apart, d) : INFINITY;
  }
  return apart / most;
}

// The checks, one file each.
void step();
void sample();
void cut();
void linear();
void linear_many();
void linear_quantised();
void decoder_layer();
void decoder_layer_quantised();
void narrow_cache();
void decode_step();
void embed();
void upload();

}  // namespace check
