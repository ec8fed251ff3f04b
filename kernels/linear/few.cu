// Linear layers for up to 32 rows of x (decoding) on an NVIDIA GPU's tensor cores: op.cc says what they compute.
//
// The weights are read once, and nothing else takes as long. A block a multiprocessor; its warps form groups, and a
// group takes a unit of 16 rows of weights, each warp a part of the columns: as large a group as leaves all units to one
// round, so that every multiprocessor has its share and no warp waits for many others. A warp has a ring in shared
// memory that asynchronous copies keep full across units. A lane gets 16 bytes of a row, 8 columns: as the sum over the
// columns may be taken in any order, these are the operand of two products as they come, and no lane reads what another
// asked for. The rings are filled before await_previous(): weights do not depend on the launches before.
// Tensor cores take bfloat16. x is split into three of them, which is exact, so products are; weights in bfloat16 are
// exact as they are, float16 in two parts. Sums in tensor cores are rounded towards zero: they begin anew every kStep
// columns and are added up in ordinary float32. The order depends on the weights' shape and on the device alone: a row
// of x has the same result whatever other rows there are. An x that is not finite gives NaN.
// RMSNorm costs no launch: norm(x) W^T = scale * ((x * norm) W^T), and the squares for `scale` are summed beside it.
// Bytes: those of the weights; x comes from the caches for every unit. Launches: 1.

#include "few.h"

#include "../async_copy.h"
#include "../math.h"
#include "stored.h"
#include "tensor_cores.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kWarps = 16, kThreads = kWarps * kWarp;
constexpr int kStep = 32;                    // columns: four lanes, 8 each
constexpr int kTiles = 2, kUnit = 8 * kTiles;  // rows of weights; gated, 8 of gate and 8 of up
constexpr int kPitch = kUnit + 1;

struct Call {
  const uint16_t* weight;
  int64_t N, K;
  const float *x, *norm, *bias, *residual;
  float epsilon;
  int count;  // rows of x
  float* y;
  int group;  // warps that share a unit
};

// Eight weights as operands of two products: parts whose sum they are.
template <WeightType kType>
struct Weight {
  static constexpr int kParts = kType == WeightType::kFloat16 ? 2 : 1;
  unsigned part[kParts][4];

  __device__ explicit Weight(const uint4& raw) {
    if constexpr (kType == WeightType::kFloat16) {
      float values[8];
      Float16::unpack(raw, values);
      split<kParts>(values, part);
    } else {
      part[0][0] = raw.x, part[0][1] = raw.y, part[0][2] = raw.z, part[0][3] = raw.w;
    }
  }
};

// Eight columns of rows g and g + 8 of x, in three parts.
struct Pair {
  unsigned part[2][3][4];
};

// total += x W^T over the 32 columns that four lanes hold; small parts first, in two chains of products.
template <typename W>
__device__ void multiply(const Pair& x, const W& weight, float (&total)[4]) {
  float sums[2][4] = {};
#pragma unroll
  for (int w = W::kParts - 1; w >= 0; w--) {
#pragma unroll
    for (int p = 2 - w; p >= 0; p--) {  // without the product of the smallest parts
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const unsigned a[4] = {x.part[0][p][2 * i], x.part[1][p][2 * i], x.part[0][p][2 * i + 1],
                               x.part[1][p][2 * i + 1]};
        const unsigned b[2] = {weight.part[w][2 * i], weight.part[w][2 * i + 1]};
        multiply_add(sums[i], a, b);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++) total[i] += sums[0][i] + sums[1][i];
}

// Eight columns of kRows rows of x of a warp's steps, from device memory to operands.
template <int kRows>
struct Operands {
  static constexpr int kEights = (kRows + 7) / 8, kPairs = (kEights + 1) / 2;
  static constexpr int kFolded = kRows < 8 ? kRows : 8;  // rows of an eight
  static constexpr int kFold = 8 / kFolded;              // steps that a warp splits x for at once: no lane idles
};

// Shared memory: rings, split x, sums and squares of two units. The form for up to kRows rows of x: 2, 8, 16 or 32.
template <int kRows, int kSlots>
struct Form : Operands<kRows> {
  static constexpr int kRing = kSlots * kTiles * kWarp;                          // a warp's, 16 bytes each
  static constexpr int kSplit = Operands<kRows>::kFold > 1 ? 3 * kWarp : 0;      // the same
  static constexpr int kSums = kWarps * kRows * kPitch, kSquares = kWarps * kRows;  // a unit's floats
  static constexpr size_t kBytes = kWarps * (kRing + kSplit) * sizeof(uint4) + 2 * (kSums + kSquares) * sizeof(float);
};

template <WeightType kType, int kRows, int kSlots, bool kGated>
__global__ void __launch_bounds__(kThreads) few_rows(Call call) {
#if defined(SDA_CUDA_EMULATE) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using F = Form<kRows, kSlots>;
  constexpr int kEights = F::kEights, kPairs = F::kPairs, kFold = F::kFold, kFolded = F::kFolded;
  SDA_DYNAMIC_SHARED(uint4, shared);
  const int64_t N = call.N, K = call.K, width = kGated ? N / 2 : N;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4;
  const int split = call.group, groups = kWarps / split, group = warp / split, member = warp % split;
  const int steps = static_cast<int>((K + kStep - 1) / kStep), units = static_cast<int>((N + kUnit - 1) / kUnit);
  const int first = member * steps / split, end = (member + 1) * steps / split;
  const int first_unit = group * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  const int next_unit = groups * static_cast<int>(gridDim.x);
  uint4* const ring = shared + warp * F::kRing + lane;
  uint4* const parts = shared + kWarps * F::kRing + warp * F::kSplit;
  float* const all_sums = reinterpret_cast<float*>(shared + kWarps * (F::kRing + F::kSplit));

  // The row of weights, of gate or of up, that column c of a unit's sums belongs to.
  const auto place = [=](int unit, int c) {
    return kGated ? static_cast<int64_t>(unit) * 8 + c % 8 : static_cast<int64_t>(unit) * kUnit + c;
  };

  // Asks for the warp's next step, of this unit or the next, into the slot after the one asked for before.
  int asked_unit = first_unit, asked_step = first, asked_slot = 0;
  const uint16_t* rows[kTiles];
  const auto request = [&] {
    if (asked_step == first) {
#pragma unroll
      for (int j = 0; j < kTiles; j++) {
        const int64_t n = place(asked_unit, 8 * j + g), row = n < width ? n : width - 1;
        rows[j] = call.weight + (kGated && j % 2 ? width + row : row) * K + t * 8;
      }
    }
    if (asked_unit < units && asked_step < end) {
      const bool there = asked_step * kStep + t * 8 < K;
#pragma unroll
      for (int j = 0; j < kTiles; j++) {
        const uint16_t* from = rows[j] + static_cast<int64_t>(asked_step) * kStep;
        copy_async(ring + (asked_slot * kTiles + j) * kWarp, there ? from : call.weight, there);
      }
    }
    commit_copies();
    if (++asked_step >= end) asked_step = first, asked_unit += next_unit;
    if (++asked_slot == kSlots) asked_slot = 0;
  };
  for (int i = 0; i < kSlots - 1; i++) request();

  // A lane's part of x, and of the norm, for kFold steps.
  float x[kEights][8], norm[8];
  const auto column = [&](int base) { return static_cast<int64_t>(base + g / kFolded) * kStep + t * 8; };
  const auto is_there = [&](int base) { return base + g / kFolded < end && column(base) < K; };
  const auto read_norm = [&](int base) {
    if (call.norm && is_there(base)) load_floats<8>(call.norm + column(base), norm);
  };
  const auto read = [&](int base, int e) {
    const int m = 8 * e + g % kFolded;
    if (is_there(base) && m < call.count) load_floats<8>(call.x + m * K + column(base), x[e]);
    else for (float& value : x[e]) value = 0.0f;
  };
  constexpr bool kReadsAhead = kEights == 1;  // else registers are short
  for (float& value : norm) value = 1.0f;
  read_norm(first);
  if (call.bias && first_unit < units && lane < kUnit) {
    const int64_t n = place(first_unit, lane);
    prefetch(call.bias + (n < width ? n : 0) + (kGated && lane >= 8 ? width : 0));
  }
  await_previous();
  if (kReadsAhead) read(first, 0);
  int slot = 0;
  for (int unit = first_unit, turn = 0; unit < units; unit += next_unit, turn ^= 1) {
    float total[kPairs][kTiles][4] = {}, square[kEights] = {};
    for (int base = first; base < end; base += kFold) {
      const int next = base + kFold < end ? base + kFold : first;
      Pair pairs[kPairs] = {};
#pragma unroll
      for (int e = 0; e < kEights; e++) {
        if (!kReadsAhead) read(base, e);
        if (call.norm) {
#pragma unroll
          for (int i = 0; i < 8; i++) square[e] += x[e][i] * x[e][i], x[e][i] *= norm[i];
        }
        sda::cuda::split<3>(x[e], pairs[e / 2].part[e % 2]);
      }
      if constexpr (kFold > 1) {
        __syncwarp();
#pragma unroll
        for (int p = 0; p < 3; p++) {
          const unsigned(&words)[4] = pairs[0].part[0][p];
          parts[p * kWarp + lane] = uint4{words[0], words[1], words[2], words[3]};
        }
        __syncwarp();
      }
      if (kReadsAhead) read(next, 0);
      read_norm(next);
      const int count = end - base < kFold ? end - base : kFold;
      for (int s = 0; s < count; s++) {
        if constexpr (kFold > 1) {
#pragma unroll
          for (int p = 0; p < 3; p++) {
            const uint4 words = g < kFolded ? parts[p * kWarp + s * kFolded * 4 + lane] : uint4{0, 0, 0, 0};
            unsigned(&to)[4] = pairs[0].part[0][p];
            to[0] = words.x, to[1] = words.y, to[2] = words.z, to[3] = words.w;
          }
        }
        await_copies<kSlots - 2>();
        uint4 raw[kTiles];
#pragma unroll
        for (int j = 0; j < kTiles; j++) raw[j] = ring[(slot * kTiles + j) * kWarp];
        if (++slot == kSlots) slot = 0;
        request();  // into the slot of the step before
#pragma unroll
        for (int j = 0; j < kTiles; j++) {
          const Weight<kType> weight(raw[j]);
#pragma unroll
          for (int i = 0; i < kPairs; i++) multiply(pairs[i], weight, total[i][j]);
        }
      }
    }

    float* const sums = all_sums + turn * (F::kSums + F::kSquares);  // [kWarps, kRows, kPitch]
    float* const squares = sums + F::kSums;                          // [kWarps, kRows]
#pragma unroll
    for (int e = 0; e < kEights; e++) {
      const int m = warp * kRows + 8 * e + g;
      for (int offset = 2; offset > 0; offset /= 2) square[e] += __shfl_xor_sync(kWholeWarp, square[e], offset);
      for (int offset = 16; offset >= 4 * kFolded; offset /= 2)
        square[e] += __shfl_xor_sync(kWholeWarp, square[e], offset);
      if (g >= kFolded) continue;
      if (t == 0) squares[m] = square[e];
#pragma unroll
      for (int j = 0; j < kTiles; j++)
        for (int i = 0; i < 2; i++) sums[m * kPitch + 8 * j + 2 * t + i] = total[e / 2][j][e % 2 * 2 + i];
    }
    await_group(group, split);

    constexpr int kOutputs = kGated ? kUnit / 2 : kUnit;
    for (int i = member * kWarp + lane; i < call.count * kOutputs; i += split * kWarp) {
      const int m = i / kOutputs, c = i % kOutputs;
      const int64_t n = place(unit, c);
      if (n >= width) continue;
      float value = 0.0f, up = 0.0f, all = 0.0f;
      for (int w = group * split; w < (group + 1) * split; w++) {
        const float* const mine = sums + (w * kRows + m) * kPitch + c;
        value += mine[0];
        if constexpr (kGated) up += mine[8];
        all += squares[w * kRows + m];
      }
      const float scale = call.norm ? 1.0f / sqrtf(all / static_cast<float>(K) + call.epsilon) : 1.0f;
      value = scale * value + (call.bias ? call.bias[n] : 0.0f);
      if constexpr (kGated) value = silu(value) * (scale * up + (call.bias ? call.bias[width + n] : 0.0f));
      else value += call.residual ? call.residual[m * N + n] : 0.0f;
      call.y[m * width + n] = value;
    }
  }
#endif
}

template <WeightType kType, int kRows, int kSlots, bool kGated>
void launch(const Call& call, unsigned blocks, cudaStream_t stream) {
  allow_shared<few_rows<kType, kRows, kSlots, kGated>>();
  SDA_LAUNCH((few_rows<kType, kRows, kSlots, kGated>), blocks, kThreads, (Form<kRows, kSlots>::kBytes), stream, call);
}

constexpr int kLong = 6, kShort = 3;  // slots of a ring: of the short one where shared memory has no room

template <WeightType kType, int kRows, bool kGated>
void launch(Call call, cudaStream_t stream) {
  const int units = ceil_div(call.N, kUnit), processors = device().processors;
  call.group = kWarps;
  while (call.group > 1 && kWarps / call.group * processors < units) call.group /= 2;
  const unsigned blocks = static_cast<unsigned>(units < processors ? units : processors);
  if (Form<kRows, kLong>::kBytes <= device().shared) launch<kType, kRows, kLong, kGated>(call, blocks, stream);
  else launch<kType, kRows, kShort, kGated>(call, blocks, stream);
}

template <WeightType kType, bool kGated>
void launch(const Call& call, cudaStream_t stream) {
  if (call.count > 16) return launch<kType, 32, kGated>(call, stream);
  if (call.count > 8) return launch<kType, 16, kGated>(call, stream);
  if (call.count > 2) return launch<kType, 8, kGated>(call, stream);
  launch<kType, 2, kGated>(call, stream);
}

template <bool kGated>
void launch(const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y,
            cudaStream_t stream) {
  const Call call = {static_cast<const uint16_t*>(weights.data), weights.N, weights.K, rows.x, rows.norm, bias,
                     residual, rows.epsilon, static_cast<int>(rows.M), y, 0};
  if (weights.type == WeightType::kFloat16) launch<WeightType::kFloat16, kGated>(call, stream);
  else launch<WeightType::kBfloat16, kGated>(call, stream);
}

}  // namespace

int64_t most_few_rows() { return Form<32, kShort>::kBytes <= device().shared ? 32 : 16; }

bool takes_few(const Weights& weights, const Rows& rows) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return weights.type != WeightType::kFloat32 && weights.K % 8 == 0 && aligned(weights.data) && aligned(rows.x) &&
         aligned(rows.norm) && device().capability >= 80;
}

void linear_few(const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y,
                cudaStream_t stream) {
  launch<false>(weights, rows, bias, residual, y, stream);
}

void gated_linear_few(const Weights& weights, const Rows& rows, const float* bias, float* y, cudaStream_t stream) {
  launch<true>(weights, rows, bias, nullptr, y, stream);
}

}  // namespace cuda
}  // namespace sda
