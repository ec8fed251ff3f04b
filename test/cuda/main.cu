// Checks the CUDA kernels without TensorFlow and without a model, and on a GPU times them: see run.mjs.
//
//   check [--small] [--every N] [--no-timings] [--only NAME[,NAME...]] [--json FILE]
//
// --small: small shapes alone and no timings; --every N: one case in N, for the sanitizers. Names: those of `checks`.

#include <cstring>

#include "check.h"

namespace check {
namespace {

struct Timing {
  std::string name;
  double us, bytes, limit;
};
std::vector<Timing> timings;

// About normal: the sum of four bytes of a hash.
__host__ __device__ inline float scattered(size_t i) {
  uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  x ^= x >> 31;
  const int sum = static_cast<int>((x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24 & 255));
  return (sum - 510) / 147.8f;
}
__host__ __device__ inline void put(float value, float* to) { *to = value; }
__host__ __device__ inline void put(float value, uint16_t* to) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  *to = static_cast<uint16_t>(bits >> 16);
}

#if defined(SDA_CUDA_EMULATE)
template <typename T>
void fill_all(T* to, size_t n, float spread) {
  for (size_t i = 0; i < n; i++) put(spread * scattered(i), to + i);
}
#else
template <typename T>
__global__ void fill_some(T* to, size_t n, float spread) {
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < n; i += size_t(gridDim.x) * blockDim.x)
    put(spread * scattered(i), to + i);
}
template <typename T>
void fill_all(T* to, size_t n, float spread) {
  fill_some<<<2048, 256>>>(to, n, spread);
  must(cudaDeviceSynchronize(), "fill");
}

__global__ void read_all(const float4* data, size_t n, float* never) {
  float sum = 0.0f;
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += data[i].x;
  if (sum != 0.0f) *never = sum;
}
#endif

}  // namespace

void fill(uint16_t* to, size_t n, float spread) { fill_all(to, n, spread); }
void fill(float* to, size_t n, float spread) { fill_all(to, n, spread); }

#if !defined(SDA_CUDA_EMULATE)
void sweep() {
  constexpr size_t kBytes = 256u << 20;
  static Buffer<float> data(std::vector<float>(kBytes / sizeof(float), 0.0f));
  read_all<<<2048, 256>>>(reinterpret_cast<const float4*>(data.data()), kBytes / sizeof(float4), data.data());
}
#endif

double bandwidth() {
#if defined(SDA_CUDA_EMULATE)
  return 0;
#else
  static const double measured = [] {
    constexpr size_t kBytes = 512u << 20;
    Buffer<unsigned char> from(kBytes), to(kBytes);
    const double us = time_of(
        [&] { cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice); });
    return 2.0 * kBytes / us;
  }();
  return measured;
#endif
}

void report(const std::string& name, double us, double bytes) {
  if (us <= 0) return;
  const double limit = bytes / bandwidth();
  timings.push_back({name, us, bytes, limit});
  std::printf("%-56s %9.1f us", name.c_str(), us);
  if (bytes > 0) std::printf("  %9.2f MB  limit %8.1f us  %6.2f times", bytes / 1e6, limit, us / limit);
  std::printf("\n");
  std::fflush(stdout);
}

namespace {

const std::vector<std::pair<const char*, void (*)()>> checks = {
    {"upload", upload}, {"step", step}, {"sample", sample}, {"cut", cut}, {"decode_step", decode_step}, {"linear", linear},
    {"linear_quantised", linear_quantised}, {"linear_many", linear_many}, {"decoder_layer", decoder_layer},
    {"decoder_layer_quantised", decoder_layer_quantised}, {"narrow_cache", narrow_cache},
    {"embed", embed},
};

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) out += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out + "\"";
}

void write_json(const char* file, const std::string& device) {
  std::FILE* out = std::fopen(file, "w");
  if (!out) {
    std::fprintf(stderr, "%s cannot be written.\n", file);
    std::exit(2);
  }
  std::fprintf(out, "{\"device\": %s, \"passed\": %d, \"failed\": %d, \"failures\": [", device.c_str(), passed, failed);
  for (size_t i = 0; i < failures.size(); i++) std::fprintf(out, "%s%s", i ? ", " : "", quoted(failures[i]).c_str());
  std::fprintf(out, "], \"timings\": [");
  for (size_t i = 0; i < timings.size(); i++) {
    const Timing& t = timings[i];
    std::fprintf(out, "%s\n  {\"name\": %s, \"us\": %.2f, \"bytes\": %.0f, \"limit_us\": %.2f}", i ? "," : "",
                 quoted(t.name).c_str(), t.us, t.bytes, t.limit);
  }
  std::fprintf(out, "]}\n");
  std::fclose(out);
}

bool is_named(const std::string& list, const std::string& name) {
  return list.empty() || ("," + list + ",").find("," + name + ",") != std::string::npos;
}

}  // namespace
}  // namespace check

int main(int count, char** arguments) {
  std::string only;
  const char* json = nullptr;
  for (int i = 1; i < count; i++) {
    const std::string argument = arguments[i];
    if (argument == "--small") {
      check::options.large = check::options.timings = false;
    } else if (argument == "--every" && i + 1 < count) {
      check::options.every = std::max(1, std::atoi(arguments[++i]));
    } else if (argument == "--no-timings") {
      check::options.timings = false;
    } else if (argument == "--only" && i + 1 < count) {
      only = arguments[++i];
    } else if (argument == "--json" && i + 1 < count) {
      json = arguments[++i];
    } else {
      std::fprintf(stderr, "Unknown argument %s: see the head of test/cuda/main.cu.\n", argument.c_str());
      return 2;
    }
  }
  std::string device = "null";
#if !defined(SDA_CUDA_EMULATE)
  cudaDeviceProp found;
  if (cudaGetDeviceProperties(&found, 0) != cudaSuccess) {
    std::fprintf(stderr, "There is no CUDA device that can be used.\n");
    return 2;
  }
  const double rate = check::options.timings ? check::bandwidth() / 1e3 : 0;
  char text[256];
  std::snprintf(text, sizeof text, "{\"name\": \"%s\", \"sm\": %d, \"memory_gib\": %.0f, \"copy_gb_s\": %.0f}", found.name,
                10 * found.major + found.minor, found.totalGlobalMem / 1073741824.0, rate);
  device = text;
  std::printf("%s, sm_%d%d, %.0f GiB; copies at %.0f GB/s\n", found.name, found.major, found.minor,
              found.totalGlobalMem / 1073741824.0, rate);
#else
  std::printf("emulated on the CPU: results only, no timings\n");
#endif
  for (const auto& [name, run] : check::checks) {
    if (!check::is_named(only, name)) continue;
    run();
    std::fflush(stdout);
    if (json) check::write_json(json, device);  // again after each: a time limit loses one part alone
  }
  std::printf("%d passed, %d failed\n", check::passed, check::failed);
  return check::failed > 0;
}
