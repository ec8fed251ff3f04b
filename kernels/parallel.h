// Work on TensorFlow's own CPU threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"

namespace sda {

// Calls work(begin, end) on ranges that cover 0..total, in parallel. `grain` is the least number of items worth
// a thread of its own.
template <typename Work>
void parallel_for(tensorflow::OpKernelContext* ctx, int64_t total, int64_t grain, const Work& work) {
  const auto& workers = *ctx->device()->tensorflow_cpu_worker_threads();
  const int64_t most = (total + grain - 1) / std::max<int64_t>(grain, 1);
  const int threads = static_cast<int>(std::min<int64_t>(workers.num_threads, most));
  if (threads <= 1) {
    if (total > 0) work(0, total);
    return;
  }
  // One range a thread: the ranges cost the same, so finer ones would only add hand-overs.
  const int64_t block = (total + threads - 1) / threads;
  workers.workers->ParallelFor(
      total, tsl::thread::ThreadPool::SchedulingParams::Fixed(block), work);
}

}  // namespace sda
