// Checks the CUDA kernels without TensorFlow and without a model, and on a GPU times them: see run.mjs.

#include "check.h"

namespace check {

#if !defined(SDA_CUDA_EMULATE)
namespace {

__global__ void read_all(const float4* data, size_t n, float* never) {
  float sum = 0.0f;
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += data[i].x;
  if (sum != 0.0f) *never = sum;
}

}  // namespace

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
  std::printf("%-52s %9.1f us  %8.2f MB  limit %8.1f us  %5.1f%% of bandwidth\n", name.c_str(), us, bytes / 1e6,
              limit, 100 * limit / us);
}

}  // namespace check

int main() {
#if !defined(SDA_CUDA_EMULATE)
  cudaDeviceProp device;
  if (cudaGetDeviceProperties(&device, 0) != cudaSuccess) {
    std::fprintf(stderr, "There is no CUDA device that can be used.\n");
    return 2;
  }
  std::printf("%s, sm_%d%d, %.0f GiB; copies at %.0f GB/s\n", device.name, device.major, device.minor,
              device.totalGlobalMem / 1073741824.0, check::bandwidth() / 1e3);
#else
  std::printf("emulated on the CPU: results only, no timings\n");
#endif
  check::upload();
  check::step();
  check::sample();
  check::linear();
  check::linear_many();
  check::decoder_layer();
  check::embed();
  check::decode_step();
  std::printf("%d passed, %d failed\n", check::passed, check::failed);
  return check::failed > 0;
}
