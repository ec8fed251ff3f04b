// Linear layers for up to 16 rows of x (decoding) with weights of 8 or 4 bits, on an NVIDIA GPU's tensor cores: op.cc says
// what they compute, few_block.h how, quantised.h how the weights are stored.
//
// A unit is a block of 16 rows, gated 8 rows of a block of gate and 8 of one of up. A warp copies a group of 32 columns at a
// time, as it lies, 16 bytes a lane; a lane then has the 8 columns of two rows that it needs by two words (4 bits) or four,
// from shared memory in such an order that no two lanes meet in a bank.
// Numbers less the middle of their range, v, are exact in bfloat16: so products with the parts of x are, and a group's sum
// is what float32 makes of them. The scale s and the zero point z follow: total += s (sum of v x - z sum of x), where a
// product with ones gives the sum of x. So weights are what they stand for, and x keeps all its bits.
// Unpacking is shared by all rows of x, as the loads are. A number of 4 bits becomes a half of a word of two bfloat16 by
// `and or` (128 + u in its 7 bits) and one addition of two; 8 bits take one more, for the sign.
// Bytes: those of the weights, each once; x comes from the caches for every unit. Launches: 1.
// Instructions of a step of a warp (16 rows, 32 columns) with two rows of x, in the code for sm_90, those that begin a unit
// among them: some 175 for 8 bits, 190 for 4 bits with zero points. An H100's multiprocessor begins about 145 and 80 while
// it reads that much: 8 bits are near the speed of memory there, 4 bits at about half of it.

#include "few.h"

#include "few_block.h"
#include "quantised_view.h"

namespace sda {
namespace cuda {
namespace {

// Quantised weights, as few_block.h asks for them.
template <int kBits, bool kZeros>
struct QuantisedRows {
  using Matrix = QuantisedView;
  static constexpr int kValues = 4 * kBits, kScales = 4, kZeroChunks = 2;  // places in a slot, of 16 bytes
  static constexpr int kSlot = kValues + kScales + kZeroChunks;
  static constexpr int kLong = kBits == 8 ? 10 : 16, kShort = kBits == 8 ? 4 : 6, kUnroll = 2;
  static constexpr bool kOwn = false;
  static constexpr int kGroupBytes = 16 * kValues, kWords = kBits / 4;

  const QuantisedView& view;
  const int g, t;
  // What a lane copies of each group: 16 bytes of values, and of what stands before them.
  const uint8_t *values, *rest;
  int rest_stride;
  bool has_rest;
  unsigned words[few::kTiles][kWords];
  float scale[few::kTiles][2], minus_zero[few::kTiles][2];  // of the rows whose sums a lane has

  __device__ QuantisedRows(const QuantisedView& v, int g_, int t_) : view(v), g(g_), t(t_) {}

  // Lanes with values to copy, and the place in `rest` of the others (of 4 bits), or of the first ones.
  __device__ bool has_values() const { return kBits == 8 || 4 * g + t < kValues; }
  __device__ int place_of_rest() const { return 4 * g + t - (kBits == 8 ? 0 : kValues); }
  // Chunks lie so that the eight which a quarter of the lanes' words are in are in different banks.
  static __device__ int swizzled(int chunk) { return chunk ^ chunk / 8 * 2; }

  template <bool kGated>
  __device__ void begin(const QuantisedView&, int unit, int, int, int first) {
    const int half = kGated ? unit % 2 : 0;
    const uint8_t* const block = view.blocks + static_cast<int64_t>(kGated ? unit / 2 : unit) * view.block_bytes;
    const int line = (4 * g + t) / 4, quarter = t;  // of the lane's chunk of values
    values = block + view.values_at + static_cast<int64_t>(first) * kGroupBytes + line * kQuantLine;
    values += kGated ? quarter / 2 * view.part_bytes + (2 * half + quarter % 2) * 16 : quarter * 16;

    const int place = place_of_rest(), chunks = view.scale_bytes;  // 2 or 4, as a scale's bytes
    if (place < kScales) {
      has_rest = place >= 0 && place < chunks;
      rest_stride = static_cast<int>(kQuantRows) * view.scale_bytes;
      rest = block + (kGated ? 2 * place / chunks * view.part_bytes + (half * chunks / 2 + place % (chunks / 2)) * 16
                             : static_cast<int64_t>(place) * 16);
    } else {
      has_rest = kZeros && place < kScales + (kGated ? 2 : 1);
      rest_stride = kQuantRows;
      rest = block + view.zeros_at + (place - kScales) * view.part_bytes;
    }
    rest += static_cast<int64_t>(first) * rest_stride;
  }

  __device__ void ask(uint4* to, int, int) {
    if (has_values()) copy_async(to + swizzled(4 * g + t), values);
    if (has_rest) copy_async(to + kValues + place_of_rest(), rest);
    values += kGroupBytes;
    rest += rest_stride;
  }

  template <bool kGated>
  __device__ void take(const uint4* from, int unit) {
    __syncwarp();  // what all lanes have asked for is there, and all have read the slot before
    const auto* const word = reinterpret_cast<const unsigned*>(from);
    const unsigned* const scales = word + 4 * kValues;
#pragma unroll
    for (int j = 0; j < few::kTiles; j++) {
#pragma unroll
      for (int w = 0; w < kWords; w++) {
        const int line = kWords * t + w;
        words[j][w] = word[4 * swizzled(4 * line + 2 * j + g / 4) + g % 4];
      }
      if (view.scales == kFloat32Scale) {
        for (int i = 0; i < 2; i++) scale[j][i] = bits_to_float(static_cast<int32_t>(scales[8 * j + 2 * t + i]));
      } else {
        const unsigned both = scales[4 * j + t];
        scale[j][0] = scale_of(view, both & 0xffff), scale[j][1] = scale_of(view, both >> 16);
      }
      if constexpr (kZeros) {
        const auto* const bytes = reinterpret_cast<const uint8_t*>(scales + 4 * kScales);
        const int at = kGated ? 16 * j + unit % 2 * 8 : 8 * j;
        const unsigned both = *reinterpret_cast<const uint16_t*>(bytes + at + 2 * t);
        minus_zero[j][0] = -zero_of<kBits>(view, both & 255), minus_zero[j][1] = -zero_of<kBits>(view, both >> 8);
      }
    }
  }

  // Columns 0 and 2 of the eight, 1 and 3, 4 and 6, 5 and 7.
  static __device__ void unpack(const unsigned (&from)[kWords], Weight<1>& weight) {
    constexpr unsigned k128 = 0x43004300u;  // in bfloat16; what is added to its last bits counts as whole numbers
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if constexpr (kBits == 4) {
        const unsigned two = from[0] >> (i % 2 * 8 + i / 2 * 4);
        weight.part[0][i] = add_pairs((two & 0x000f000fu) | k128, 0xc308c308u);  // - 136
      } else {
        const unsigned two = from[i / 2] >> i % 2 * 8;
        const unsigned minus = (two & 0x00800080u) ^ 0xc380c380u;  // - 256, or - 128 where the upper bit is set
        weight.part[0][i] = add_pairs((two & 0x007f007fu) | k128, minus);
      }
    }
  }
  static __device__ void arrange(float (&x)[8]) {
    const float swapped[4] = {x[2], x[1], x[6], x[5]};
    x[1] = swapped[0], x[2] = swapped[1], x[5] = swapped[2], x[6] = swapped[3];
  }

  template <typename X>
  __device__ void multiply(const X& operand, float (&total)[few::kTiles][X::kTotals]) const {
    float of_x[X::kTotals];
    if constexpr (kZeros) operand.multiply(Weight<1>{{{0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u}}}, of_x);
#pragma unroll
    for (int j = 0; j < few::kTiles; j++) {
      Weight<1> weight;
      unpack(words[j], weight);
      float sums[X::kTotals];
      operand.multiply(weight, sums);
#pragma unroll
      for (int i = 0; i < X::kTotals; i++) {
        if constexpr (kZeros) sums[i] = fmaf(minus_zero[j][i % 2], of_x[i], sums[i]);
        total[j][i] = fmaf(scale[j][i % 2], sums[i], total[j][i]);
      }
    }
  }
};

template <int kBits>
void launch(bool gated, const Weights& weights, const Call& call, cudaStream_t stream) {
  const QuantisedView view = view_of(weights);
  if (view.has_zeros) few::launch<QuantisedRows<kBits, true>>(gated, view, call, stream);
  else few::launch<QuantisedRows<kBits, false>>(gated, view, call, stream);
}

}  // namespace

void linear_few_quantised(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual,
                          float* y, cudaStream_t stream) {
  const Call call = call_of(weights, rows, bias, residual, y);
  if (weights.type == WeightType::kInt8) launch<8>(gated, weights, call, stream);
  else launch<4>(gated, weights, call, stream);
}

}  // namespace cuda
}  // namespace sda
