#include "stand_in.h"

#include <algorithm>

namespace tensorflow {
namespace {

// Subnormal numbers count as zero, before and after every operation of the thread.
#if defined(__SSE__)
void set_flush(bool on) { _mm_setcsr(on ? _mm_getcsr() | 0x8040 : _mm_getcsr() & ~0x8040u); }
#elif defined(__aarch64__)
void set_flush(bool on) {
  uint64_t control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  control = on ? control | uint64_t{1} << 24 : control & ~(uint64_t{1} << 24);
  asm volatile("msr fpcr, %0" ::"r"(control));
}
#endif

[[noreturn]] void end(const std::string& name, const absl::Status& status) {
  std::fprintf(stderr, "%s failed: %s\n", name.c_str(), status.message().c_str());
  std::exit(2);
}

}  // namespace

void ThreadPool::work() {
  set_flush(true);
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return !tasks_.empty(); });
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

std::vector<Tensor> execute(const std::string& name, const Attributes& attributes, const std::vector<Tensor>& inputs) {
  const auto [first, last] = kernels().equal_range(name);
  const auto found = std::find_if(first, last, [&](const auto& entry) {
    const std::vector<DataType>& types = entry.second.first;
    return types.empty() || types[0] == inputs[0].dtype();
  });
  if (found == last) end(name, absl::Status("there is no such operation"));
  OpKernelConstruction construction(attributes);
  const std::unique_ptr<OpKernel> kernel(found->second.second(&construction));
  if (!construction.status().ok()) end(name, construction.status());
  OpKernelContext ctx(inputs);
  set_flush(true);
  kernel->Compute(&ctx);
  set_flush(false);
  if (!ctx.status().ok()) end(name, ctx.status());
  return ctx.outputs();
}

}  // namespace tensorflow
