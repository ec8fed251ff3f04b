// One layer of a Llama- or Qwen-like decoder on an NVIDIA GPU: op.cc and attention.h say what it computes.
//
// Six launches for few tokens: norm and qkv, append (head norms, rotary embedding, cache), attend, o + residual, norm,
// gate and up with SiLU, down + residual. attend splits the positions into spans of kSpan, a block for each token,
// key-value head and span; the last block of a head to end puts the spans together, in their order. Long prompts over a
// long past take several launches of attend, and prompts two or three for a linear layer (linear/many.cu).
// Bytes of a decoding call: the weights (linear/cuda.cu) and 8 G D (position + 1) of the cache a row.

#include "cuda.h"

#include "../math.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSpan = 64;
constexpr int kLanes = 8;    // that share a position's key
constexpr int kQueries = 4;  // heads that a thread has at a time
#if defined(SDA_CUDA_EMULATE)
constexpr int64_t kPartialBytes = 20 * 1024;  // so that small cases need several launches
#else
constexpr int64_t kPartialBytes = 64 << 20;  // of the partial results of one launch of attend
#endif

struct Scratch {
  float* hidden;     // [N, H D]: the heads' outputs
  float* projected;  // [N, (H + 2 G) D]
  float* between;    // [N, K]
  float* active;     // [N, I]
  float* partial;    // [tokens of a launch, H, spans, D + 2]: unnormalised output, largest score, sum
  unsigned* ended;   // [N, G]: spans that are done
  void* linear;      // what the linear layers work in
  int64_t floats;    // of all before that
};

int64_t spans_of(const Tokens& tokens) { return ceil_div(tokens.longest > 0 ? tokens.longest : 1, kSpan); }

// What attend has for each token of a launch, and how many tokens a launch takes: long prompts over long pasts take
// several.
int64_t partial_floats(const Layer& layer, const Tokens& tokens) { return layer.H * spans_of(tokens) * (layer.D + 2); }
int64_t tokens_a_launch(const Layer& layer, const Tokens& tokens) {
  const int64_t most = kPartialBytes / static_cast<int64_t>(sizeof(float)) / partial_floats(layer, tokens);
  return most < 1 ? 1 : most < tokens.N ? most : tokens.N;
}

// Each part begins at a multiple of 16 bytes. Without memory, how much it takes.
Scratch layout(const Layer& layer, const Tokens& tokens, float* memory) {
  Scratch scratch;
  scratch.floats = 0;
  const auto take = [&](int64_t floats) {
    float* const at = memory ? memory + scratch.floats : nullptr;
    scratch.floats += round_up(floats, 4);
    return at;
  };
  const int64_t N = tokens.N;
  scratch.hidden = take(N * layer.H * layer.D);
  scratch.projected = take(N * (layer.H + 2 * layer.G) * layer.D);
  scratch.between = take(N * layer.K);
  scratch.active = take(N * layer.I);
  scratch.partial = take(tokens_a_launch(layer, tokens) * partial_floats(layer, tokens));
  scratch.ended = reinterpret_cast<unsigned*>(take(N * layer.G));
  scratch.linear = take(0);
  return scratch;
}

struct Heads {
  int H, G, D, window;
  float epsilon;
  const float *query_norm, *key_norm;
};

// A warp a head of a token: queries stay in `projected`, keys and values go to the cache.
__global__ void append(Heads heads, Tokens tokens, float* projected, unsigned* ended) {
  const int H = heads.H, G = heads.G, D = heads.D, lane = threadIdx.x % kWarp;
  const int64_t token = blockIdx.x;
  const int32_t position = tokens.position[token];
  float* line = projected + token * (H + 2 * G) * D;
  for (int g = threadIdx.x; g < G; g += kThreads) ended[token * G + g] = 0;
  if (position < 0) return;
  const float* rotation = tokens.rotation + static_cast<int64_t>(position) * D;
  const int64_t row = tokens.row[token / tokens.T];
  const int half = D / 2;
  for (int h = threadIdx.x / kWarp; h < H + 2 * G; h += kThreads / kWarp) {
    float* head = line + h * D;
    const int64_t slot = ((row * G + (h - H) % G) * tokens.capacity + position) * D;
    if (h >= H + G) {
      for (int d = lane; d < D; d += kWarp) tokens.values[slot + d] = head[d];
      continue;
    }
    const float* norm = h < H ? heads.query_norm : heads.key_norm;
    float scale = 1.0f;
    if (norm) {
      float squares = 0.0f;
      for (int d = lane; d < D; d += kWarp) squares += head[d] * head[d];
      scale = 1.0f / sqrtf(reduce_warp(squares, Sum()) / static_cast<float>(D) + heads.epsilon);
    }
    float* to = h < H ? head : tokens.keys + slot;
    for (int d = lane; d < half; d += kWarp) {
      const float a = norm ? head[d] * scale * norm[d] : head[d];
      const float b = norm ? head[d + half] * scale * norm[d + half] : head[d + half];
      const float c = rotation[d], s = rotation[half + d];
      to[d] = a * c - b * s;
      to[d + half] = b * c + a * s;
    }
  }
}

// Values that a thread has at a time: four where rows begin at multiples of 16 bytes.
template <bool kWide>
constexpr int kCount = kWide ? 4 : 1;

// weight[q][j] = scale * query q . key j. kLanes threads share a key, each with a part of its columns.
template <bool kWide>
__device__ void score(const float* query, const float* keys, int group, int D, int count, float scale, float* weight) {
  constexpr int kAt = kCount<kWide>;
  const int lane = threadIdx.x % kLanes;
  for (int first = 0; first < count; first += kThreads / kLanes) {
    const int j = first + static_cast<int>(threadIdx.x) / kLanes;
    const float* key = keys + static_cast<int64_t>(j < count ? j : count - 1) * D;
    for (int q = 0; q < group; q += kQueries) {
      float dots[kQueries] = {};
      for (int d = lane * kAt; d < D; d += kLanes * kAt) {
        float k[kAt], v[kAt];
        load_floats<kAt>(key + d, k);
        for (int i = 0; i < kQueries; i++) {
          load_floats<kAt>(query + (q + i < group ? q + i : group - 1) * D + d, v);
          for (int c = 0; c < kAt; c++) dots[i] += k[c] * v[c];
        }
      }
      for (int i = 0; i < kQueries; i++) {
        for (int offset = kLanes / 2; offset > 0; offset /= 2)
          dots[i] += __shfl_xor_sync(kWholeWarp, dots[i], offset);
        if (lane == i && j < count && q + i < group) weight[(q + i) * kSpan + j] = scale * dots[i];
      }
    }
  }
}

// out[q][0..D) = sum over j of weight[q][j] * value j, for kQueries heads from `query` on. The columns, and the
// positions of each column, are split over the threads; `sums` holds what they found.
template <bool kWide>
__device__ void mix(const float* weight, const float* values, int group, int query, int D, int count, float* sums,
                    float* out, int64_t stride) {
  constexpr int kAt = kCount<kWide>;
  const int columns = D / kAt, parts = kThreads / columns;
  const int part = static_cast<int>(threadIdx.x) / columns, d = static_cast<int>(threadIdx.x) % columns * kAt;
  if (part < parts) {
    float mixed[kQueries][kAt] = {};
    for (int j = part; j < count; j += parts) {
      float v[kAt];
      load_floats<kAt>(values + static_cast<int64_t>(j) * D + d, v);
      for (int i = 0; i < kQueries; i++) {
        const float w = weight[(query + i < group ? query + i : group - 1) * kSpan + j];
        for (int c = 0; c < kAt; c++) mixed[i][c] += w * v[c];
      }
    }
    for (int i = 0; i < kQueries; i++)
      for (int c = 0; c < kAt; c++) sums[(part * kQueries + i) * D + d + c] = mixed[i][c];
  }
  __syncthreads();
  const int heads = group - query < kQueries ? group - query : kQueries;
  for (int i = threadIdx.x; i < heads * D; i += kThreads) {
    float sum = 0.0f;
    for (int p = 0; p < parts; p++) sum += sums[p * kQueries * D + i];
    out[(query + i / D) * stride + i % D] = sum;
  }
  __syncthreads();
}

// Query heads of one key-value head over one span of positions, of the tokens from `first` on.
template <bool kWide>
__global__ void attend(Heads heads, Tokens tokens, int64_t first, const float* projected, int spans,
                       float* partial, unsigned* ended, float* out) {
  SDA_DYNAMIC_SHARED(float, shared);
  __shared__ float sums[kThreads * kQueries * kCount<kWide>];
  __shared__ unsigned before;
  const int H = heads.H, G = heads.G, D = heads.D, group = H / G;
  const int64_t token = first + blockIdx.x / G, g = blockIdx.x % G;
  const int span = static_cast<int>(blockIdx.y);
  const int32_t position = tokens.position[token];
  float* const query = shared;              // [group, D]
  float* const weight = query + group * D;  // [group, kSpan]
  const float* from = projected + (token * (H + 2 * G) + g * group) * D;
  for (int i = threadIdx.x; i < group * D; i += kThreads) query[i] = from[i];
  __syncthreads();

  const int64_t first_seen = heads.window > 0 && position >= heads.window ? position - heads.window + 1 : 0;
  const int64_t span_begin = static_cast<int64_t>(span) * kSpan, span_end = span_begin + kSpan;
  const int64_t begin = span_begin > first_seen ? span_begin : first_seen;
  const int64_t end = position + 1 < span_end ? position + 1 : span_end;
  const int count = end > begin ? static_cast<int>(end - begin) : 0;
  const int64_t row = position < 0 ? 0 : tokens.row[token / tokens.T];
  const int64_t slot = ((row * G + g) * tokens.capacity + begin) * D;
  score<kWide>(query, tokens.keys + slot, group, D, count, 1.0f / sqrtf(static_cast<float>(D)), weight);
  __syncthreads();

  float* const parts = partial + ((token - first) * H + g * group) * spans * (D + 2);
  float* const mine = parts + static_cast<int64_t>(span) * (D + 2);
  const int64_t stride = static_cast<int64_t>(spans) * (D + 2);  // of a head
  for (int q = threadIdx.x / kWarp; q < group; q += kThreads / kWarp) {
    const int lane = threadIdx.x % kWarp;
    float largest = -kInfinity, sum = 0.0f;
    for (int j = lane; j < count; j += kWarp) largest = max_of(largest, weight[q * kSpan + j]);
    largest = reduce_warp(largest, Largest());
    for (int j = lane; j < count; j += kWarp) sum += weight[q * kSpan + j] = exp_fast(weight[q * kSpan + j] - largest);
    sum = reduce_warp(sum, Sum());
    if (lane == 0) mine[q * stride + D] = largest, mine[q * stride + D + 1] = sum;
  }
  __syncthreads();
  for (int q = 0; q < group; q += kQueries)
    mix<kWide>(weight, tokens.values + slot, group, q, D, count, sums, mine, stride);

  // the last block of this head puts the spans together
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) before = atomicAdd(&ended[token * G + g], 1u);
  __syncthreads();
  if (before + 1 < static_cast<unsigned>(spans)) return;
  __threadfence();
  for (int i = threadIdx.x; i < group * D; i += kThreads) {
    const int q = i / D, d = i % D;
    const volatile float* part = parts + static_cast<int64_t>(q) * spans * (D + 2);
    float largest = -kInfinity, sum = 0.0f, mixed = 0.0f;
    for (int s = 0; s < spans; s++) largest = max_of(largest, static_cast<float>(part[s * (D + 2) + D]));
    for (int s = 0; s < spans; s++) {
      const float here = part[s * (D + 2) + D];
      if (here == -kInfinity) continue;  // nothing to see in this span
      const float factor = exp_fast(here - largest);
      sum += factor * part[s * (D + 2) + D + 1];
      mixed += factor * part[s * (D + 2) + d];
    }
    out[(token * H + g * group) * D + i] = sum > 0.0f ? mixed / sum : 0.0f;
  }
}

}  // namespace

size_t layer_scratch_bytes(const Layer& layer, const Tokens& tokens) {
  size_t most = 0;
  for (const Weights& weights : {layer.qkv, layer.o, layer.gate_up, layer.down}) {
    const size_t bytes = linear_scratch_bytes(weights, tokens.N);
    most = bytes > most ? bytes : most;
  }
  return layout(layer, tokens, nullptr).floats * sizeof(float) + most;
}

void decoder_layer(const Layer& layer, const Tokens& tokens, const float* x, float* y, void* memory,
                   cudaStream_t stream) {
  const Scratch scratch = layout(layer, tokens, static_cast<float*>(memory));
  const int64_t N = tokens.N;
  const Heads heads = {static_cast<int>(layer.H),      static_cast<int>(layer.G), static_cast<int>(layer.D),
                       static_cast<int>(layer.window), layer.epsilon,             layer.query_norm,
                       layer.key_norm};
  const Rows input = {x, N, layer.input_norm, layer.epsilon}, attended = {scratch.hidden, N, nullptr, 0.0f};
  const Rows between = {scratch.between, N, layer.post_norm, layer.epsilon};
  const Rows active = {scratch.active, N, nullptr, 0.0f};
  linear(layer.qkv, input, layer.qkv_bias, nullptr, scratch.projected, scratch.linear, stream);
  SDA_LAUNCH(append, static_cast<unsigned>(N), kThreads, 0, stream, heads, tokens, scratch.projected, scratch.ended);
  const int spans = static_cast<int>(spans_of(tokens));
  const size_t shared = (layer.H / layer.G) * (layer.D + kSpan) * sizeof(float);
  const int64_t some = tokens_a_launch(layer, tokens);
  for (int64_t first = 0; first < N; first += some) {
    const int64_t count = N - first < some ? N - first : some;
    const dim3 grid(static_cast<unsigned>(count * layer.G), spans);
    if (layer.D % 4 == 0) {
      SDA_LAUNCH(attend<true>, grid, kThreads, shared, stream, heads, tokens, first, scratch.projected, spans,
                 scratch.partial, scratch.ended, scratch.hidden);
    } else {
      SDA_LAUNCH(attend<false>, grid, kThreads, shared, stream, heads, tokens, first, scratch.projected, spans,
                 scratch.partial, scratch.ended, scratch.hidden);
    }
  }
  linear(layer.o, attended, layer.o_bias, x, scratch.between, scratch.linear, stream);
  gated_linear(layer.gate_up, between, layer.gate_up_bias, scratch.active, scratch.linear, stream);
  linear(layer.down, active, layer.down_bias, scratch.between, y, scratch.linear, stream);
}

}  // namespace cuda
}  // namespace sda
