// CUDA's asynchronous copies into shared memory, for emulate.h. It ends the program with a message where a call breaks
// what the hardware demands of it.
#pragma once

#include <map>

#include "emulate.h"

namespace emulate {

inline void demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "emulate: %s\n", what);
  std::exit(3);
}
inline bool aligned(const void* at, size_t bytes) { return reinterpret_cast<uintptr_t>(at) % bytes == 0; }

// Asynchronous copies: one is made when its thread waits for its group, as late as the hardware may.
struct Copy {
  void* to;
  const void* from;
  size_t bytes;  // 0: zeros
};
inline std::vector<std::vector<Copy>>& copies() {  // of this thread: groups, the last one open
  static std::map<const Fiber*, std::vector<std::vector<Copy>>> all;
  auto& mine = all[&block->fibers[block->current]];
  if (mine.empty()) mine.emplace_back();
  return mine;
}

}  // namespace emulate

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes, size_t zeros = 0) {
  emulate::demand(bytes == 16 && emulate::aligned(to, 16) && emulate::aligned(from, 16),
                  "an asynchronous copy is not of 16 bytes, aligned to as many");
  emulate::demand(zeros == 0 || zeros == bytes, "an asynchronous copy is zero in part");
  emulate::copies().back().push_back({to, from, bytes - zeros});
}
inline void __pipeline_commit() { emulate::copies().emplace_back(); }
inline void __pipeline_wait_prior(size_t pending) {
  auto& groups = emulate::copies();
  while (groups.size() - 1 > pending) {
    for (const emulate::Copy& copy : groups.front()) {
      if (copy.bytes == 0) std::memset(copy.to, 0, 16);
      else std::memcpy(copy.to, copy.from, copy.bytes);
    }
    groups.erase(groups.begin());
  }
}
