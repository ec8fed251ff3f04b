// Parallel work on TensorFlow's own CPU threads, without putting them to sleep between operations.
//
// A decoding step is some sixty operations of a few hundred microseconds each; waking a sleeping thread for every
// one of them costs tens of microseconds. So a pool thread that has helped once keeps watching for the next
// operation for kPatience before it goes back to the pool, as OpenMP runtimes and llama.cpp's thread pool do.
//
// Work comes in phases: every item of one is done before the next begins. Whoever is there takes the next items from
// a counter, half of its share of what is left, so that streams through memory are long and all still end together.
// A phase is over when all items are done, and nobody waits for a thread that has not taken any: the work also ends
// when no helper ever comes.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"

namespace sda {

struct Phase {
  int64_t items;
  int64_t chunk;  // the fewest items that a thread takes at a time, at least 1
  std::function<void(int64_t begin, int64_t end)> work;
};

inline void pause_briefly(int spins) {
  if (spins > 2000) {
    std::this_thread::yield();  // somebody else needs the processor
    return;
  }
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// One call's phases and how far they are. Shared with helpers, which may come late: then all is taken.
class PhasedWork {
 public:
  PhasedWork(std::vector<Phase> phases, int threads)
      : phases_(std::move(phases)), progress_(phases_.size()), threads_(threads) {}

  // Takes part until every phase is done.
  void take_part() {
    for (size_t p = 0; p < phases_.size(); p++) {
      const Phase& phase = phases_[p];
      for (;;) {
        int64_t begin = progress_[p].taken.load(), end;
        do {
          const int64_t share = (phase.items - begin) / (2 * threads_);
          end = std::min(begin + std::max(phase.chunk, share), phase.items);
        } while (begin < phase.items && !progress_[p].taken.compare_exchange_weak(begin, end));
        if (begin >= phase.items) break;
        phase.work(begin, end);
        progress_[p].done.fetch_add(end - begin);
      }
      for (int spins = 0; progress_[p].done.load() < phase.items; spins++) pause_briefly(spins);
    }
  }

 private:
  struct Progress {
    std::atomic<int64_t> taken{0}, done{0};
  };
  const std::vector<Phase> phases_;
  std::vector<Progress> progress_;
  const int64_t threads_;
};

// The threads that watch for work. One for the process, as TensorFlow's pool is.
class Team {
 public:
  static Team& instance() {
    static Team* team = new Team;  // never destroyed: pool threads may still look at it at exit
    return *team;
  }

  void run(tensorflow::OpKernelContext* ctx, std::vector<Phase> phases) {
    const auto& workers = *ctx->device()->tensorflow_cpu_worker_threads();
    const auto work = std::make_shared<PhasedWork>(std::move(phases), workers.num_threads);
    int missing = 0;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!current_) {  // else another thread's operation has the helpers, and this one goes alone
        current_ = work;
        calls_.fetch_add(1);
        missing = workers.num_threads - 1 - watching_;
        watching_ += std::max(0, missing);
      }
    }
    for (int i = 0; i < missing; i++) workers.workers->Schedule([this] { watch(); });
    work->take_part();
    std::lock_guard<std::mutex> lock(mutex_);
    if (current_ == work) current_.reset();
  }

 private:
  static constexpr std::chrono::microseconds kPatience{500};

  void watch() {
    using Clock = std::chrono::steady_clock;
    uint64_t seen = 0;
    Clock::time_point idle_since = Clock::now();
    for (int spins = 0;; spins++) {
      if (calls_.load() != seen) {
        std::shared_ptr<PhasedWork> work;
        {
          std::lock_guard<std::mutex> lock(mutex_);
          seen = calls_.load();
          work = current_;
        }
        if (work) work->take_part();
        idle_since = Clock::now();
        spins = 0;
      }
      if (spins % 64 == 63 && Clock::now() - idle_since > kPatience) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (calls_.load() != seen) continue;
        watching_--;
        return;
      }
      pause_briefly(spins % 1024);
    }
  }

  std::mutex mutex_;
  std::shared_ptr<PhasedWork> current_;
  std::atomic<uint64_t> calls_{0};
  int watching_ = 0;
};

// Runs phases one after the other, each on all threads.
inline void run_phases(tensorflow::OpKernelContext* ctx, std::vector<Phase> phases) {
  Team::instance().run(ctx, std::move(phases));
}

// Calls work(begin, end) on ranges that cover 0..total, in parallel. `grain` is the least number of items worth
// handing to another thread.
template <typename Work>
void parallel_for(tensorflow::OpKernelContext* ctx, int64_t total, int64_t grain, const Work& work) {
  const int threads = ctx->device()->tensorflow_cpu_worker_threads()->num_threads;
  if (threads <= 1 || total <= grain) {
    if (total > 0) work(0, total);
    return;
  }
  run_phases(ctx, {{total, grain, [&](int64_t begin, int64_t end) { work(begin, end); }}});
}

}  // namespace sda
