// What the sampler on a GPU (cuda.cu) cuts with: ranks, masses, sums of them over bins, and the search for the place at
// which a running sum reaches a target. For blocks of kThreads.
//
// Tokens are ranked by log-probability, equal ones by the lower id; a token's rank is one 64-bit number, lower where it
// is better. A mass is a whole number in units of 2^-43, so that sums do not depend on their order; a token below one
// unit (e^-29.8) is never drawn.
#pragma once

#include "../device.h"
#include "../math.h"

namespace sda {
namespace cuda {
namespace sampling {

constexpr int kWarps = 16, kThreads = kWarps * kWarp;
constexpr int kPerThread = 4;
constexpr int kBins = 1024;
constexpr float kBinsPerNat = 32.0f;  // the last bin starts at e^-31.97, where there is no mass
constexpr float kMassUnits = 8796093022208.0f;  // 2^43: the sum over kMostTokens fits

using Mass = unsigned long long;
using Rank = unsigned long long;
constexpr Rank kNoRank = ~0ull;

__device__ inline bool possible(float log_prob) { return log_prob > -kInfinity && log_prob < kInfinity; }

// Impossible tokens have none.
__device__ inline Rank rank_of(float log_prob, int64_t token) {
  if (!possible(log_prob)) return kNoRank;
  const unsigned bits = static_cast<unsigned>(float_to_bits(log_prob + 0.0f));  // -0 becomes 0
  const unsigned ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<Rank>(~ascending) << 32 | static_cast<unsigned>(token);
}
__device__ inline unsigned token_of(Rank rank) { return static_cast<unsigned>(rank); }
__device__ inline float log_prob_of(Rank rank) {
  const unsigned ascending = ~static_cast<unsigned>(rank >> 32);
  return bits_to_float(static_cast<int>(ascending & 0x80000000u ? ascending & 0x7fffffffu : ~ascending));
}

__device__ inline Mass mass_of(float log_prob) {
  return possible(log_prob) ? static_cast<Mass>(exp_fast(min_of(log_prob, 0.0f)) * kMassUnits) : 0;
}

__device__ inline int bin_of(float log_prob) {
  return static_cast<int>(min_of(max_of(-log_prob, 0.0f) * kBinsPerNat, kBins - 1.0f));
}

// What a cut keeps: the bins before `bin`, and all ranks up to `last`.
struct Kept {
  int bin;
  Rank last;
};

__device__ inline bool keeps(const Kept& kept, float log_prob, int64_t token) {
  return bin_of(log_prob) < kept.bin || rank_of(log_prob, token) <= kept.last;
}

// One instruction from compute capability 8.0 on.
__device__ inline int least_of_warp(int value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return __reduce_min_sync(kWholeWarp, value);
#else
  return reduce_warp(value, Least());
#endif
}
__device__ inline int largest_of_warp(int value) { return -least_of_warp(-value); }

// The sum of the values of this lane and those before it.
template <typename T>
__device__ T sum_up_to_lane(T value) {
  for (int delta = 1; delta < kWarp; delta *= 2) {
    const T before = __shfl_up_sync(kWholeWarp, value, delta);
    if (lane() >= delta) value += before;
  }
  return value;
}

// Sums in shared memory, each in two halves: there hardware adds 32 bits, but emulates 64 with a loop.
template <int kCount>
struct Sums {
  unsigned low[kCount], high[kCount];

  __device__ void clear() {
    for (int i = threadIdx.x; i < kCount; i += kThreads) low[i] = high[i] = 0;
  }
  __device__ void set(int i, Mass amount) {
    low[i] = static_cast<unsigned>(amount), high[i] = static_cast<unsigned>(amount >> 32);
  }
  __device__ Mass operator[](int i) const { return static_cast<Mass>(high[i]) << 32 | low[i]; }
  // Each addition to the lower half tells whether it carries, whatever the order: the whole is exact.
  __device__ void add(int i, Mass amount) {
    const unsigned part = static_cast<unsigned>(amount);
    const unsigned before = atomicAdd(&low[i], part);
    const unsigned rest = static_cast<unsigned>(amount >> 32) + (before + part < before ? 1u : 0u);
    if (rest > 0) atomicAdd(&high[i], rest);
  }

  // Adds amounts[j] at at[j] where it is not 0; whole warps call it. What a warp adds to one place only, as where
  // tokens are equally likely, it sums up first: additions to one place happen one after another.
  __device__ void add_all(const int (&at)[kPerThread], const Mass (&amounts)[kPerThread]) {
    int first = kCount, last = -1;
    Mass sum = 0;
    for (int j = 0; j < kPerThread; j++) {
      if (amounts[j] == 0) continue;
      first = at[j] < first ? at[j] : first;
      last = at[j] > last ? at[j] : last;
      sum += amounts[j];
    }
    const bool alike = first >= last;
    const int place = first;
    first = least_of_warp(first);
    last = largest_of_warp(last);
    if (first == last) {
      sum = reduce_warp(sum, Sum());
      if (lane() == 0) add(first, sum);
    } else if (alike) {
      if (sum > 0) add(place, sum);
    } else {
      for (int j = 0; j < kPerThread; j++)
        if (amounts[j] > 0) add(at[j], amounts[j]);
    }
  }
};

struct Place {
  int index;      // where the target is reached; kThreads * kCount where it is not
  Mass amount;    // there
  Mass rest;      // of the target, there: what is before it is taken off
  Mass whole;     // of all amounts
};

// The first of the amounts, kCount neighbouring ones a thread, at which the running sum reaches target(whole), at least
// 1; every thread has it.
template <int kCount, typename Target>
__device__ Place find(const Mass (&amounts)[kCount], const Target& target) {
  __shared__ Mass sums[kWarps];
  __shared__ Place found;
  Mass mine = 0;
  for (Mass amount : amounts) mine += amount;
  const Mass upto = sum_up_to_lane(mine);
  if (lane() == kWarp - 1) sums[warp()] = upto;
  __syncthreads();
  Mass whole = 0, before = upto - mine;
#pragma unroll 4
  for (int w = 0; w < kWarps; w++) {
    if (w < warp()) before += sums[w];
    whole += sums[w];
  }
  const Mass aim = Largest()(target(whole), Mass(1));
  if (before < aim && aim - before <= mine) {
    Mass rest = aim - before;
    bool open = true;
    for (int i = 0; i < kCount; i++) {
      if (open && rest <= amounts[i]) {
        found = {static_cast<int>(threadIdx.x) * kCount + i, amounts[i], rest, whole};
        open = false;
      }
      if (open) rest -= amounts[i];
    }
  } else if (threadIdx.x == 0 && whole < aim) {
    found = {kThreads * kCount, 0, aim - whole, whole};
  }
  __syncthreads();
  return found;  // written again behind the next call's first barrier
}

// Calls visit(some) for n ranks, kPerThread at a time; their loads overlap, also with the visit before. All threads
// together, kNoRank beyond n.
template <typename Visit>
__device__ void for_each(const Rank* ranks, unsigned n, const Visit& visit) {
  Rank ahead[kPerThread];
  const auto load = [&](unsigned first) {
    for (unsigned j = 0; j < kPerThread; j++) {
      const unsigned i = first + j * kThreads + threadIdx.x;
      ahead[j] = i < n ? ranks[i] : kNoRank;
    }
  };
  load(0);
  #pragma unroll 1
  for (unsigned first = 0; first < n;) {
    Rank some[kPerThread];
    for (int j = 0; j < kPerThread; j++) some[j] = ahead[j];
    first += kThreads * kPerThread;
    load(first);
    visit(some);
  }
}

struct AnyBit {
  __device__ Rank operator()(Rank a, Rank b) const { return a | b; }
};

__device__ inline Mass amount_of(Rank rank, bool by_count) { return by_count ? 1 : mass_of(log_prob_of(rank)); }

// What select finds, of at most kFew ranks in shared memory: of each rank, kTogether threads sum up what is before it.
// ranks[i] may be written by thread i just before.
constexpr int kTogether = 4;
constexpr unsigned kFew = kThreads / kTogether;

__device__ inline Rank select_few(const Rank* ranks, unsigned n, Mass target, bool by_count) {
  __shared__ Mass amounts[kFew];
  __shared__ Rank found;
  if (threadIdx.x < n) amounts[threadIdx.x] = amount_of(ranks[threadIdx.x], by_count);
  __syncthreads();
  const unsigned i = threadIdx.x / kTogether;
  const Rank mine = i < n ? ranks[i] : 0;  // before all
  Mass before = 0;
  for (unsigned j = threadIdx.x % kTogether; j < n; j += kTogether) before += ranks[j] < mine ? amounts[j] : 0;
  for (int offset = kTogether / 2; offset > 0; offset /= 2) before += __shfl_xor_sync(kWholeWarp, before, offset);
  if (i < n && threadIdx.x % kTogether == 0 && before < target && target - before <= amounts[i]) found = mine;
  __syncthreads();
  return found;
}

// The one of n ranks at which the running sum, of counts or of masses and in the order of ranks, reaches `target`: at
// least 1, at most the sum of all. Ranks are narrowed down by digits, each time from the first bit in which any two
// differ.
__device__ inline Rank select(const Rank* ranks, unsigned n, Mass target, bool by_count) {
  constexpr int kDigitBits = 9, kDigits = 1 << kDigitBits;
  static_assert(kDigits == kThreads, "a digit a thread");
  __shared__ Sums<kDigits> amounts;
  __shared__ Rank ones[kWarps], zeros[kWarps];
  Rank prefix = 0;
  for (int open = 64;;) {  // low bits that are not known yet
    const auto concerned = [&](Rank rank) {
      return rank != kNoRank && (open == 64 || (rank ^ prefix) >> open == 0);
    };
    Rank set = 0, unset = 0;  // bits that are so in any of those concerned
    for_each(ranks, n, [&](const Rank (&some)[kPerThread]) {
      for (Rank rank : some)
        if (concerned(rank)) set |= rank, unset |= ~rank;
    });
    set = reduce_warp(set, AnyBit());
    unset = reduce_warp(unset, AnyBit());
    if (lane() == 0) ones[warp()] = set, zeros[warp()] = unset;
    amounts.clear();
    __syncthreads();
    set = unset = 0;
    for (int w = 0; w < kWarps; w++) set |= ones[w], unset |= zeros[w];
    const Rank differ = set & unset;
    if (differ == 0) return set;  // one is left

    prefix = set;
    open = 64 - __clzll(static_cast<long long>(differ));
    const int width = open < kDigitBits ? open : kDigitBits, shift = open - width;
    const Rank mask = (Rank(1) << width) - 1;
    for_each(ranks, n, [&](const Rank (&some)[kPerThread]) {
      int digits[kPerThread];
      Mass each[kPerThread];
      for (int j = 0; j < kPerThread; j++) {
        digits[j] = static_cast<int>(some[j] >> shift & mask);
        each[j] = concerned(some[j]) ? amount_of(some[j], by_count) : 0;
      }
      amounts.add_all(digits, each);
    });
    __syncthreads();
    const Mass mine[] = {amounts[threadIdx.x]};
    const Place place = find(mine, [&](Mass whole) { return Least()(target, whole); });
    target = place.rest;
    prefix = (prefix & ~(mask << shift)) | static_cast<Rank>(place.index & (kDigits - 1)) << shift;
    open = shift;
    if (open == 0) return prefix;
  }
}

}  // namespace sampling
}  // namespace cuda
}  // namespace sda
