// The kernel of few.cu and of few_quantised.cu: a linear layer for up to 16 rows of x on an NVIDIA GPU's tensor cores. For
// them alone.
//
// The weights are read once, and nothing else takes as long. A block a multiprocessor; its warps form groups, and a
// group takes a unit of 16 rows of weights, each warp a part of the columns: as large a group as leaves all units to one
// round, so that every multiprocessor has its share and no warp waits for many others. A warp has a ring in shared
// memory that asynchronous copies keep full across units. The rings are filled before await_previous(): weights do not
// depend on the launches before.
// Tensor cores take bfloat16. x is split into three of them, which is exact, and weights into parts that are, so products
// are (few_rows.h). Sums in tensor cores are rounded towards zero: they begin anew every kStep columns and are added up in
// ordinary float32. The order depends on the weights' shape and on the device alone: a row of x has the same result
// whatever other rows there are. An x that is not finite gives NaN.
// RMSNorm costs no launch: norm(x) W^T = scale * ((x * norm) W^T), and the squares for `scale` are summed beside it.
//
// How weights are stored is a type `Source`, one for each lane 4 g + t of a warp: a kernel argument `Matrix`; the place of
// a step in the ring (kSlot in 16 bytes, kOwn: each lane reads what it has asked for alone), and how
// many are unrolled; begin(unit, ...) and ask(to),
// which begins to copy the next step; take(from, unit), into registers; multiply(operand, total); arrange(x), which puts eight
// columns of x into the order in which those of the weights come.
#pragma once

#include "../async_copy.h"
#include "call.h"
#include "few_rows.h"

namespace sda {
namespace cuda {
namespace few {

constexpr int kWarps = 16, kThreads = kWarps * kWarp;
constexpr int kStep = 32;                      // columns: four lanes, 8 each
constexpr int kTiles = 2, kUnit = 8 * kTiles;  // rows of weights; gated, 8 of gate and 8 of up
constexpr int kPitch = kUnit + 1;

// Shared memory: rings and what X shares, a warp's in 16 bytes; sums and squares of two units, in floats.
template <typename Source, typename X, int kSlots>
struct Shared {
  static constexpr int kRing = kSlots * Source::kSlot, kSums = kWarps * X::kRows * kPitch, kSquares = kWarps * X::kRows;
  static constexpr size_t kBytes =
      kWarps * (kRing + X::kShared) * sizeof(uint4) + 2 * (kSums + kSquares) * sizeof(float);
};

// The row of weights, of gate or of up, that column c of a unit's sums belongs to.
template <bool kGated>
__device__ int place(int unit, int c) {
  return kGated ? unit * 8 + c % 8 : unit * kUnit + c;
}

// X: the form for so many rows of x, few_rows.h. `split` warps share a unit.
template <typename Source, typename X, int kSlots, bool kGated>
__global__ void __launch_bounds__(kThreads, 1) few_rows(typename Source::Matrix weights, Call call, int split) {
#if defined(SDA_CUDA_EMULATE) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using S = Shared<Source, X, kSlots>;
  SDA_DYNAMIC_SHARED(uint4, shared);
  const int N = static_cast<int>(call.N), K = static_cast<int>(call.K), width = kGated ? N / 2 : N;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4;
  const int groups = kWarps / split, group = warp / split, member = warp % split;
  const int steps = (K + kStep - 1) / kStep, units = (N + kUnit - 1) / kUnit;
  const int first = member * steps / split, end = (member + 1) * steps / split;
  const int first_unit = group * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  const int next_unit = groups * static_cast<int>(gridDim.x);
  uint4* const ring = shared + warp * S::kRing + (Source::kOwn ? lane : 0);
  uint4* const parts = shared + kWarps * S::kRing + warp * X::kShared;
  float* const all_sums = reinterpret_cast<float*>(shared + kWarps * (S::kRing + X::kShared));

  // Asks for the warp's next step, of this unit or the next, into the slot after the one asked for before.
  Source source(weights, g, t);
  int asked_unit = first_unit, asked_step = first, asked_slot = 0;
  const auto request = [&] {
    if (asked_step == first) source.template begin<kGated>(weights, asked_unit, width, K, first);
    if (asked_unit < units && asked_step < end) source.ask(ring + asked_slot, asked_step, K);
    commit_copies();
    if (++asked_step >= end) asked_step = first, asked_unit += next_unit;
    if ((asked_slot += Source::kSlot) == S::kRing) asked_slot = 0;
  };
  for (int i = 0; i < kSlots - 1; i++) request();

  // A lane's part of x, and of the norm, for X::kFold steps.
  float x[X::kEights][8], norm[8];
  const auto column = [&](int base) { return (base + X::step_of(g)) * kStep + t * 8; };
  const auto is_there = [&](int base) { return base + X::step_of(g) < end && column(base) < K; };
  const auto read = [&](int base) {
#pragma unroll
    for (int e = 0; e < X::kEights; e++) {
      const int m = 8 * e + X::row_of(g);
      if (is_there(base) && m < call.count) load_floats<8>(call.x + m * call.K + column(base), x[e]);
      else for (float& value : x[e]) value = 0.0f;
      Source::arrange(x[e]);
    }
  };
  const auto read_norm = [&](int base) {
    if (!call.norm || !is_there(base)) return;
    load_floats<8>(call.norm + column(base), norm);
    Source::arrange(norm);
  };
  for (float& value : norm) value = 1.0f;
  read_norm(first);
  if (call.bias && first_unit < units && lane < kUnit) {
    const int n = place<kGated>(first_unit, lane);
    prefetch(call.bias + (n < width ? n : 0) + (kGated && lane >= 8 ? width : 0));
  }
  await_previous();
  read(first);
  int slot = 0;
  for (int unit = first_unit, turn = 0; unit < units; unit += next_unit, turn ^= 1) {
    constexpr int kRuns = 4 / X::kFold;
    float total[kTiles][X::kTotals] = {}, square[X::kEights][kRuns] = {};
    for (int base = first; base < end; base += X::kFold) {
      if (call.norm) {
#pragma unroll
        for (int e = 0; e < X::kEights; e++) {
#pragma unroll
          for (int run = 0; run < kRuns; run++) {
            if ((base - first) / X::kFold % kRuns != run) continue;
            for (int i = 0; i < 8; i++) square[e][run] += x[e][i] * x[e][i];
          }
          for (int i = 0; i < 8; i++) x[e][i] *= norm[i];
        }
      }
      X operand;
      operand.take(x, g, t, parts);
      const int next = base + X::kFold < end ? base + X::kFold : first;
      read(next);
      read_norm(next);
      const int count = end - base < X::kFold ? end - base : X::kFold;
#pragma unroll Source::kUnroll
      for (int s = 0; s < count; s++) {
        operand.at_step(s, g, t, parts);
        await_copies<kSlots - 2>();
        source.template take<kGated>(ring + slot, unit);
        if ((slot += Source::kSlot) == S::kRing) slot = 0;
        request();  // into the slot of the step before
        source.multiply(operand, total);
      }
    }

    float* const sums = all_sums + turn * (S::kSums + S::kSquares);  // [kWarps, rows, kPitch]
    float* const squares = sums + S::kSums;                          // [kWarps, rows]
#pragma unroll
    for (int e = 0; e < X::kEights; e++) {
      const int m = warp * X::kRows + 8 * e + g;
#pragma unroll
      for (int run = 0; run < kRuns; run++)
        for (int offset = 2; offset > 0; offset /= 2)
          square[e][run] += __shfl_xor_sync(kWholeWarp, square[e][run], offset);
      const float all = X::of_four(square[e]);
      if (t == 0 && g < X::kRows) squares[m] = all;
#pragma unroll
      for (int j = 0; j < kTiles; j++) {
        for (int i = 0; i < 2; i++) {
          const float value = X::value(total[j], e, i);
          if (g < X::kRows) sums[m * kPitch + 8 * j + 2 * t + i] = value;
        }
      }
    }
    await_group(group, split);

    constexpr int kOutputs = kGated ? kUnit / 2 : kUnit;
    for (int i = member * kWarp + lane; i < call.count * kOutputs; i += split * kWarp) {
      const int m = i / kOutputs, c = i % kOutputs, n = place<kGated>(unit, c);
      if (n >= width) continue;
      float value = 0.0f, up = 0.0f, all = 0.0f;
      for (int w = group * split; w < (group + 1) * split; w++) {
        const float* const mine = sums + (w * X::kRows + m) * kPitch + c;
        value += mine[0];
        if constexpr (kGated) up += mine[8];
        all += squares[w * X::kRows + m];
      }
      const float scale = call.norm ? rms_scale(all, K, call.epsilon) : 1.0f;
      finish<kGated>(call, m, n, scale, value, up);
    }
  }
#endif
}

template <typename Source, typename X, int kSlots, bool kGated>
void launch(const typename Source::Matrix& weights, const Call& call, cudaStream_t stream) {
  const int units = ceil_div(call.N, kUnit), processors = device().processors;
  int split = kWarps;
  while (split > 1 && kWarps / split * processors < units) split /= 2;
  const unsigned blocks = static_cast<unsigned>(units < processors ? units : processors);
  allow_shared<few_rows<Source, X, kSlots, kGated>>();
  SDA_LAUNCH((few_rows<Source, X, kSlots, kGated>), blocks, kThreads, (Shared<Source, X, kSlots>::kBytes), stream, weights,
             call, split);
}

// Slots of a ring: Source::kLong, or Source::kShort where shared memory has no room. With the long one a block leaves no
// room for a second: the blocks of a launch that begins early would crowd on the multiprocessors that are free first.
template <typename Source, typename X, bool kGated>
void launch(const typename Source::Matrix& weights, const Call& call, cudaStream_t stream) {
  constexpr int kLong = Source::kLong, kShort = Source::kShort;
  if (Shared<Source, X, kLong>::kBytes <= device().shared) launch<Source, X, kLong, kGated>(weights, call, stream);
  else launch<Source, X, kShort, kGated>(weights, call, stream);
}

template <typename Source, bool kGated>
void launch(const typename Source::Matrix& weights, const Call& call, cudaStream_t stream) {
  if (call.count > 8) return launch<Source, SixteenRows, kGated>(weights, call, stream);
  if (call.count > 2) return launch<Source, EightRows, kGated>(weights, call, stream);
  launch<Source, TwoRows, kGated>(weights, call, stream);
}

template <typename Source>
void launch(bool gated, const typename Source::Matrix& weights, const Call& call, cudaStream_t stream) {
  if (gated) launch<Source, true>(weights, call, stream);
  else launch<Source, false>(weights, call, stream);
}

}  // namespace few
}  // namespace cuda
}  // namespace sda
