// Holds the CPU's operations to float64 by the checks of test/cuda; see run.mjs.

#define SDA_CUDA_EMULATE  // the checks' buffers are the host's memory

#include "../../../kernels/decoder-layer/attend.h"
#include "../../cuda/check.h"

// What timings call, which only a device has.
namespace check {
void report(const std::string&, double, double) {}
void fill(uint16_t*, size_t, float) { std::abort(); }
void fill(float*, size_t, float) { std::abort(); }
}  // namespace check
namespace sda::cuda {
int64_t attend_scratch_floats(const Layer&, const Tokens&) { std::abort(); }
void attend(const Layer&, const Tokens&, float*, float*, float*, cudaStream_t) { std::abort(); }
}  // namespace sda::cuda

int main() {
  for (void (*checks)() : {check::upload, check::embed, check::step, check::sample, check::cut, check::linear,
                           check::decoder_layer})
    checks();
  std::printf("%d passed, %d failed\n", check::passed, check::failed);
  return check::failed == 0 ? 0 : 1;
}
