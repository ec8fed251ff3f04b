// The least logit that top-k and top-p keep of a stream on an NVIDIA GPU: op.cc says what. A block a query.
//
// A logit's key is a 32-bit number, lower where it is better. The cut's key is narrowed down by digits: each time the
// counts or masses (cuda_select.h) of all values of the next digit, among the keys that begin as is known, and the digit at
// which the running sum reaches the target. Four passes a cut, one before for the largest logit. Bytes per query and
// token: 20, or 40 with both cuts, but for the first 4 from the second-level cache.

#include "cuda.h"

#include "../fours.h"
#include "../sample/cuda_select.h"

namespace sda {
namespace cuda {
namespace {

using namespace sampling;

using Key = unsigned;
constexpr int kDigitBits = 9, kDigits = 1 << kDigitBits;
static_assert(kDigits == kThreads, "a digit a thread");
constexpr int64_t kTile = kThreads * kPerThread;
constexpr Key kNoKey = ~0u;

struct CutLine {
  const float* logits;
  int64_t V;
  bool fours;
  float largest, per_temperature;

  __device__ Mass mass(float x) const { return mass_of((x - largest) * per_temperature); }
};

// Impossible tokens have none.
__device__ Key key_of(float x) { return possible(x) ? static_cast<Key>(rank_of(x, 0) >> 32) : kNoKey; }
__device__ float logit_of(Key key) { return log_prob_of(static_cast<Rank>(key) << 32); }

// Calls visit(x) for all of a line, four tokens a thread, -Infinity beyond it; all threads together.
template <typename Visit>
__device__ void for_line(const CutLine& line, const Visit& visit) {
  #pragma unroll 1
  for (int64_t first = 0; first < line.V; first += kTile) {
    float x[kPerThread];
    load_four(line.logits, first + kPerThread * threadIdx.x, line.V, line.fours, -kInfinity, x);
    visit(x);
  }
}

// Where a running sum over keys, in their order, reaches its target.
struct KeyPlace {
  Key key;
  Mass rest;  // of the target, there: what is before it is taken off
};

// `target`: of the sum of all, which it does not exceed; keys beyond `limit` are left out.
template <typename Target>
__device__ KeyPlace find_key(const CutLine& line, Key limit, bool by_count, const Target& target) {
  __shared__ Sums<kDigits> sums;
  KeyPlace found = {0, 0};
  for (int open = 32; open > 0;) {  // low bits that are not known yet
    const int width = open < kDigitBits ? open : kDigitBits, shift = open - width;
    const Key mask = (Key(1) << width) - 1;
    sums.clear();
    __syncthreads();
    for_line(line, [&](const float (&x)[kPerThread]) {
      int digits[kPerThread];
      Mass amounts[kPerThread];
      for (int j = 0; j < kPerThread; j++) {
        const Key key = key_of(x[j]);
        const bool concerned = key != kNoKey && key <= limit && (open == 32 || (key ^ found.key) >> open == 0);
        digits[j] = static_cast<int>(key >> shift & mask);
        amounts[j] = !concerned ? 0 : by_count ? 1 : line.mass(x[j]);
      }
      sums.add_all(digits, amounts);
    });
    __syncthreads();
    const Mass mine[] = {sums[threadIdx.x]};
    const Place place = find(mine, [&](Mass whole) {
      return Least()(open == 32 ? target(whole) : found.rest, whole);
    });
    found.key |= static_cast<Key>(place.index & (kDigits - 1)) << shift;
    found.rest = place.rest;
    open = shift;
  }
  return found;
}

// The sum of masses before a key.
__device__ Mass mass_before(const CutLine& line, Key limit) {
  __shared__ Mass scratch[kWarps];
  Mass mine = 0;
  for_line(line, [&](const float (&x)[kPerThread]) {
    for (float each : x) mine += key_of(each) < limit ? line.mass(each) : 0;
  });
  return reduce_block(mine, Sum(), scratch);
}

__global__ void __launch_bounds__(kThreads)
    cut_lines(const float* logits, const float* all_settings, int64_t apart, int64_t V, bool fours, float* least) {
  __shared__ float scratch[kWarps];
  await_previous();
  const int64_t q = blockIdx.x;
  const float* settings = all_settings + q * kCutSettings;
  const float top_k = settings[kCutTopK], top_p = settings[kCutTopP];
  const bool counts = top_k >= 1.0f && top_k < static_cast<float>(V), masses = top_p < 1.0f;
  CutLine line = {logits + q * apart, V, fours, -kInfinity, 1.0f / max_of(settings[kCutTemperature], kLeastCutTemperature)};
  for_line(line, [&](const float (&x)[kPerThread]) {
    for (float each : x) line.largest = max_of(each, line.largest);
  });
  line.largest = reduce_block(line.largest, Largest(), scratch);
  if ((!counts && !masses) || !possible(line.largest)) {
    if (threadIdx.x == 0) least[q] = -kInfinity;
    return;
  }
  KeyPlace last = {kNoKey - 1, 0};
  if (counts) last = find_key(line, last.key, true, [&](Mass) { return static_cast<Mass>(top_k); });
  if (masses) {
    // of the tokens with the last key, top-k counts as many as fill it
    const Mass kept = counts ? mass_before(line, last.key) + last.rest * line.mass(logit_of(last.key)) : 0;
    last = find_key(line, last.key, false, [&](Mass whole) {
      const Mass of = counts ? kept : whole;
      return static_cast<Mass>(ceil(top_p * (1.0 - kCutRounding) * static_cast<double>(of)));
    });
  }
  if (threadIdx.x == 0) least[q] = logit_of(last.key);
}

}  // namespace

void cut(const float* logits, const float* settings, int64_t B, int64_t apart, int64_t V, float* least,
         cudaStream_t stream) {
  const bool fours = in_fours(logits, V);
  SDA_LAUNCH(cut_lines, static_cast<unsigned>(B), kThreads, 0, stream, logits, settings, apart, V, fours, least);
}

}  // namespace cuda
}  // namespace sda
