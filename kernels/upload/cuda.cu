// Small values from the host to the device, as arguments of a kernel: they travel with the launch. A copy from memory
// that is not page-locked may wait for the stream, and from memory that is must outlive the copy.
// Launches: 1 for each kWords values.

#include "cuda.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kWords = 960;  // a launch takes 4 KB of arguments
constexpr int kThreads = 128;

struct Words {
  int32_t at[kWords];
};

__global__ void put(Words words, int count, int32_t* to) {
  await_previous();
  for (int i = threadIdx.x; i < count; i += kThreads) to[i] = words.at[i];
}

}  // namespace

void upload(const int32_t* host, int64_t count, int32_t* device, cudaStream_t stream) {
  for (int64_t done = 0; done < count; done += kWords) {
    const int some = static_cast<int>(count - done < kWords ? count - done : kWords);
    Words words;
    for (int i = 0; i < some; i++) words.at[i] = host[done + i];
    SDA_LAUNCH(put, 1, kThreads, 0, stream, words, some, device + done);
  }
}

}  // namespace cuda
}  // namespace sda
