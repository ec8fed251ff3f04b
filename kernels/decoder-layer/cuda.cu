// One layer of a Llama- or Qwen-like decoder on an NVIDIA GPU: op.cc and attention.h say what it computes.
//
// Eight launches: norm, qkv, append (head norms, rotary embedding, cache), attend, o + residual, norm, gate and up with
// SiLU, down + residual. attend splits the positions into spans of kSpan, a block for each token, key-value head and
// span; the last block of a head to end puts the spans together, in their order.
// Bytes of a decoding call: the weights (linear/cuda.cu) and 8 G D (position + 1) of the cache a row.

#include "cuda.h"

#include "../math.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kSpan = 128;

struct Scratch {
  float* hidden;     // [N, max(K, H D)]: norm(x); then the heads' outputs; then norm(y)
  float* projected;  // [N, (H + 2 G) D]
  float* between;    // [N, K]
  float* active;     // [N, I]
  float* partial;    // [N, H, spans, D + 2]: unnormalised output, largest score, sum
  unsigned* ended;   // [N, G]: spans that are done
};

int64_t spans_of(const Tokens& tokens) { return ceil_div(tokens.longest > 0 ? tokens.longest : 1, kSpan); }

int64_t wide(const Layer& layer) { return layer.K > layer.H * layer.D ? layer.K : layer.H * layer.D; }

// Floats of a part of the scratch, so that each begins at a multiple of 16 bytes.
int64_t padded(int64_t floats) { return (floats + 3) / 4 * 4; }

Scratch layout(const Layer& layer, const Tokens& tokens, void* memory) {
  const int64_t N = tokens.N;
  Scratch scratch;
  scratch.hidden = static_cast<float*>(memory);
  scratch.projected = scratch.hidden + padded(N * wide(layer));
  scratch.between = scratch.projected + padded(N * (layer.H + 2 * layer.G) * layer.D);
  scratch.active = scratch.between + padded(N * layer.K);
  scratch.partial = scratch.active + padded(N * layer.I);
  scratch.ended = reinterpret_cast<unsigned*>(scratch.partial + padded(N * layer.H * spans_of(tokens) * (layer.D + 2)));
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

// Query heads of one key-value head over one span of positions.
__global__ void attend(Heads heads, Tokens tokens, const float* projected, int spans, float* partial,
                       unsigned* ended, float* out) {
  SDA_DYNAMIC_SHARED(float, shared);
  __shared__ unsigned before;
  const int H = heads.H, G = heads.G, D = heads.D, group = H / G;
  const int64_t token = blockIdx.x / G, g = blockIdx.x % G;
  const int span = static_cast<int>(blockIdx.y);
  const int32_t position = tokens.position[token];
  float* const query = shared;              // [group, D]
  float* const weight = query + group * D;  // [group, kSpan]
  const float* from = projected + (token * (H + 2 * G) + g * group) * D;
  for (int i = threadIdx.x; i < group * D; i += kThreads) query[i] = from[i];
  __syncthreads();

  const int64_t first_seen = heads.window > 0 && position >= heads.window ? position - heads.window + 1 : 0;
  const int64_t begin = span * kSpan > first_seen ? span * kSpan : first_seen;
  const int64_t end = position + 1 < (span + 1) * kSpan ? position + 1 : (span + 1) * kSpan;
  const int count = end > begin ? static_cast<int>(end - begin) : 0;
  const int64_t row = position < 0 ? 0 : tokens.row[token / tokens.T];
  const int64_t slot = ((row * G + g) * tokens.capacity + begin) * D;
  const float* keys = tokens.keys + slot;
  const float* values = tokens.values + slot;
  const float scale = 1.0f / sqrtf(static_cast<float>(D));
  for (int pair = threadIdx.x; pair < group * count; pair += kThreads) {
    const int q = pair / count, j = pair % count;
    float dot = 0.0f;
    for (int d = 0; d < D; d++) dot += query[q * D + d] * keys[static_cast<int64_t>(j) * D + d];
    weight[q * kSpan + j] = scale * dot;
  }
  __syncthreads();

  float* const parts = partial + (token * H + g * group) * spans * (D + 2);
  for (int q = threadIdx.x / kWarp; q < group; q += kThreads / kWarp) {
    const int lane = threadIdx.x % kWarp;
    float largest = -kInfinity, sum = 0.0f;
    for (int j = lane; j < count; j += kWarp) largest = max_of(largest, weight[q * kSpan + j]);
    largest = reduce_warp(largest, Largest());
    for (int j = lane; j < count; j += kWarp) sum += weight[q * kSpan + j] = exp_fast(weight[q * kSpan + j] - largest);
    sum = reduce_warp(sum, Sum());
    if (lane == 0) {
      float* part = parts + (static_cast<int64_t>(q) * spans + span) * (D + 2);
      part[D] = largest;
      part[D + 1] = sum;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < group * D; i += kThreads) {
    const int q = i / D, d = i % D;
    float mixed = 0.0f;
    for (int j = 0; j < count; j++) mixed += weight[q * kSpan + j] * values[static_cast<int64_t>(j) * D + d];
    parts[(static_cast<int64_t>(q) * spans + span) * (D + 2) + d] = mixed;
  }

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
  const int64_t N = tokens.N;
  const int64_t floats = padded(N * wide(layer)) + padded(N * (layer.H + 2 * layer.G) * layer.D) +
                         padded(N * layer.K) + padded(N * layer.I) +
                         padded(N * layer.H * spans_of(tokens) * (layer.D + 2)) + N * layer.G;
  return floats * sizeof(float);
}

void decoder_layer(const Layer& layer, const Tokens& tokens, const float* x, float* y, void* memory,
                   cudaStream_t stream) {
  const Scratch scratch = layout(layer, tokens, memory);
  const int64_t N = tokens.N;
  const Heads heads = {static_cast<int>(layer.H),      static_cast<int>(layer.G), static_cast<int>(layer.D),
                       static_cast<int>(layer.window), layer.epsilon,             layer.query_norm,
                       layer.key_norm};
  const int spans = static_cast<int>(spans_of(tokens));
  const size_t shared = (layer.H / layer.G) * (layer.D + kSpan) * sizeof(float);
  rms_norm(x, layer.input_norm, layer.epsilon, N, layer.K, scratch.hidden, stream);
  linear(layer.qkv, scratch.hidden, layer.qkv_bias, nullptr, N, scratch.projected, stream);
  SDA_LAUNCH(append, static_cast<unsigned>(N), kThreads, 0, stream, heads, tokens, scratch.projected, scratch.ended);
  SDA_LAUNCH(attend, dim3(static_cast<unsigned>(N * layer.G), spans), kThreads, shared, stream, heads, tokens,
             scratch.projected, spans, scratch.partial, scratch.ended, scratch.hidden);
  linear(layer.o, scratch.hidden, layer.o_bias, x, N, scratch.between, stream);
  rms_norm(scratch.between, layer.post_norm, layer.epsilon, N, layer.K, scratch.hidden, stream);
  gated_linear(layer.gate_up, scratch.hidden, layer.gate_up_bias, N, scratch.active, stream);
  linear(layer.down, scratch.active, layer.down_bias, scratch.between, N, y, stream);
}

}  // namespace cuda
}  // namespace sda
