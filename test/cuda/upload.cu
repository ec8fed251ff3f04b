// Checks of kernels/upload/cuda.cu.

#include "../../kernels/upload/cuda.h"

#include <numeric>

#include "check.h"

namespace check {

void upload() {
  for (int64_t count : {0, 1, 7, 959, 960, 961, 3000}) {
    const std::string name = "upload of " + std::to_string(count);
    std::vector<int32_t> values(count);
    std::iota(values.begin(), values.end(), -100);
    const std::vector<int32_t> before = values;
    Buffer<int32_t> on_device(count);
    sda::cuda::upload(values.data(), count, on_device.data(), nullptr);
    std::fill(values.begin(), values.end(), 0);  // the host's memory is its own again
    expect(on_device.read(name) == before, name, "");
  }
  if (!options.large) return;
  const std::vector<int32_t> values(32);
  Buffer<int32_t> on_device(values.size());
  report("upload of 32 values", time_of([&] { sda::cuda::upload(values.data(), 32, on_device.data(), nullptr); }), 128);
}

}  // namespace check
