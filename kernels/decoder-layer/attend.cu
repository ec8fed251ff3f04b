// Attention of new tokens over the cache on an NVIDIA GPU: head norms, rotary embedding, keys and values appended to the
// cache, softmax over the positions that a token sees. attention.h says what it computes.
//
// A block has the query heads of one key-value head of a token, over a span of positions, kSpan or fewer: it copies the
// span's keys and values into shared memory, all on their way at once. The last block of a head to end puts the spans
// together, in their order. A row's single new token (decoding) is appended by the block that sees it: one launch, which
// asks for the cache before the launch ahead of it is through. For several, a launch appends all of them first, and long
// prompts over a long past take several launches of the rest.
// Bytes: 8 G D (position + 1) of the cache a token.

#include "attend.h"

#include "../math.h"
#include "attend_span.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kSpan = 64;    // positions; fewer where shared memory is short of room for them
constexpr int kAppendThreads = 256;
constexpr int kMostHeads = 65536;
#if defined(SDA_CUDA_EMULATE)
constexpr int64_t kPartialBytes = 20 * 1024;  // so that small cases need several launches
#else
constexpr int64_t kPartialBytes = 64 << 20;  // of the partial results of one launch
#endif

// Spans that are through, of each key-value head of each token of a launch: 0 before and after it. Launches on one device
// follow one another, on TensorFlow's stream.
__device__ unsigned ended[kMostHeads];

struct Heads {
  int H, G, D, window, span;  // positions of a span
  float epsilon;
  const float *query_norm, *key_norm;
  bool rotates;
};

// Shared memory of a block, in floats: parts that begin at multiples of four.
struct Places {
  int keys, values, query, weight, all;  // keys make room for the sums of mix
};
template <bool kWide>
__device__ __host__ Places places(int group, int D, int positions) {
  const int span = positions * D, sums = threads_of(group) * kQueries * kCount<kWide>;
  const auto after = [](int at, int floats) { return (at + floats + 3) / 4 * 4; };
  const int values = after(0, span > sums ? span : sums), query = after(values, span);
  const int weight = after(query, group * D);
  return {0, values, query, weight, weight + (group + kQueries - 1) / kQueries * kQueries * positions};
}

// Positions of a span.
int span_of(const Layer& layer) {
  int span = kSpan;
  const auto bytes = [&] { return places<true>(layer.H / layer.G, layer.D, span).all * sizeof(float) + 1024; };
  while (span > 1 && bytes() > device().shared) span /= 2;
  return span;
}
int64_t spans_of(const Layer& layer, const Tokens& tokens) {
  return ceil_div(tokens.longest > 0 ? tokens.longest : 1, span_of(layer));
}

// What a token of a launch needs, and how many tokens a launch takes.
int64_t partial_floats(const Layer& layer, const Tokens& tokens) {
  return layer.H * spans_of(layer, tokens) * (layer.D + 2);
}
int64_t tokens_a_launch(const Layer& layer, const Tokens& tokens) {
  int64_t most = kPartialBytes / static_cast<int64_t>(sizeof(float)) / partial_floats(layer, tokens);
  if (most > kMostHeads / layer.G) most = kMostHeads / layer.G;
  return most < 1 ? 1 : most < tokens.N ? most : tokens.N;
}

// A warp turns one head of a token by its place: its norm, then the rotary embedding, each where there is one.
__device__ void turn(const float* head, const float* norm, float epsilon, const float* rotation, int D, float* to,
                     float* also) {
  const int lane = threadIdx.x % kWarp, half = D / 2;
  float scale = 1.0f;
  if (norm) {
    float squares = 0.0f;
    for (int d = lane; d < D; d += kWarp) squares += head[d] * head[d];
    scale = 1.0f / sqrtf(reduce_warp(squares, Sum()) / static_cast<float>(D) + epsilon);
  }
  for (int d = lane; d < half; d += kWarp) {
    const float a = norm ? head[d] * scale * norm[d] : head[d];
    const float b = norm ? head[d + half] * scale * norm[d + half] : head[d + half];
    const float c = rotation ? rotation[d] : 1.0f, s = rotation ? rotation[half + d] : 0.0f;
    const float first = a * c - b * s, second = b * c + a * s;
    to[d] = first, to[d + half] = second;
    if (also) also[d] = first, also[d + half] = second;
  }
}

// Null where heads are not rotated.
__device__ const float* rotation_of(const Heads& heads, const Tokens& tokens, int32_t position) {
  return heads.rotates ? tokens.rotation + static_cast<int64_t>(position) * heads.D : nullptr;
}

__device__ void copy(const float* from, int D, float* to, float* also) {
  for (int d = threadIdx.x % kWarp; d < D; d += kWarp) {
    to[d] = from[d];
    if (also) also[d] = from[d];
  }
}

// A warp a head of a token: queries stay in `projected`, keys and values go to the cache.
__global__ void append(Heads heads, Tokens tokens, float* projected) {
  await_previous();
  const int H = heads.H, G = heads.G, D = heads.D;
  const int64_t token = blockIdx.x;
  const int32_t position = tokens.position[token];
  float* line = projected + token * (H + 2 * G) * D;
  if (position < 0) return;
  const float* rotation = rotation_of(heads, tokens, position);
  const int64_t row = tokens.row[token / tokens.T];
  for (int h = threadIdx.x / kWarp; h < H + 2 * G; h += kAppendThreads / kWarp) {
    float* head = line + h * D;
    const int64_t slot = ((row * G + (h - H) % G) * tokens.capacity + position) * D;
    if (h < H) turn(head, heads.query_norm, heads.epsilon, rotation, D, head, nullptr);
    else if (h < H + G) turn(head, heads.key_norm, heads.epsilon, rotation, D, tokens.keys + slot, nullptr);
    else copy(head, D, tokens.values + slot, nullptr);
  }
}

// Query heads of one key-value head over one span of positions, of the tokens from `first` on. kAppends: the token's key
// and value are not in the cache yet, nor its queries turned.
template <bool kWide, bool kAppends, int kD, int kThreads>
__global__ void __launch_bounds__(kThreads, kThreads > 256 ? 2 : 3)
    attend_span(Heads heads, Tokens tokens, int64_t first, const float* projected, int spans, float* partial, float* out) {
  SDA_DYNAMIC_SHARED(float, shared);
  if constexpr (!kAppends) await_previous();
  const int H = heads.H, G = heads.G, D = heads.D, group = H / G, warp = threadIdx.x / kWarp;
  constexpr int kWarps = kThreads / kWarp;
  const int64_t token = first + blockIdx.x / G, g = blockIdx.x % G;
  const int span = heads.span;  // positions
  const int32_t position = load_fresh(tokens.position + token);
  const int64_t row = position < 0 ? 0 : load_fresh(tokens.row + token / tokens.T);
  const Places at = places<kWide>(group, D, span);
  float *const keys = shared + at.keys, *const values = shared + at.values;
  float *const query = shared + at.query, *const weight = shared + at.weight;  // [group, D]; of each head and position

  const int64_t first_seen = heads.window > 0 && position >= heads.window ? position - heads.window + 1 : 0;
  const int64_t span_begin = static_cast<int64_t>(blockIdx.y) * span, span_end = span_begin + span;
  const int64_t begin = span_begin > first_seen ? span_begin : first_seen;
  const int64_t end = position + 1 < span_end ? position + 1 : span_end;
  const int count = end > begin ? static_cast<int>(end - begin) : 0;
  const bool appends = kAppends && count > 0 && end == position + 1;
  const int64_t slot = ((row * G + g) * tokens.capacity + begin) * D;
  const int there = (appends ? count - 1 : count) * D;
  request<kWide, kThreads>(tokens.keys + slot, there, keys);
  request<kWide, kThreads>(tokens.values + slot, there, values);
  if constexpr (kAppends) await_previous();  // places and cache are older than the launch before

  const float* const line = projected + token * (H + 2 * G) * D;
  if constexpr (kAppends) {
    const float* rotation = rotation_of(heads, tokens, position);
    for (int q = warp; q < group && position >= 0; q += kWarps)
      turn(line + (g * group + q) * D, heads.query_norm, heads.epsilon, rotation, D, query + q * D, nullptr);
    if (appends && warp == kWarps - 1)
      turn(line + (H + g) * D, heads.key_norm, heads.epsilon, rotation, D, keys + there, tokens.keys + slot + there);
    if (appends && warp == kWarps - 2)
      copy(line + (H + G + g) * D, D, values + there, tokens.values + slot + there);
  } else {
    for (int i = threadIdx.x; i < group * D; i += kThreads) query[i] = line[g * group * D + i];
  }
  await_copies<1>();
  __syncthreads();
  score<kWide, kD, kThreads>(query, keys, group, D, count, span, 1.0f / sqrtf(static_cast<float>(D)), weight);
  await_copies<0>();
  __syncthreads();

  float* const parts = partial + ((token - first) * H + g * group) * spans * (D + 2);
  float* const mine = parts + static_cast<int64_t>(blockIdx.y) * (D + 2);
  const int64_t stride = static_cast<int64_t>(spans) * (D + 2);  // of a head
  for (int q = warp; q < group; q += kWarps) {
    const int lane = threadIdx.x % kWarp;
    float largest = -kInfinity, sum = 0.0f;
    for (int j = lane; j < count; j += kWarp) largest = max_of(largest, weight[place_of(q, j, span)]);
    largest = reduce_warp(largest, Largest());
    for (int j = lane; j < count; j += kWarp) {
      float& w = weight[place_of(q, j, span)];
      sum += w = exp_fast(w - largest);
    }
    sum = reduce_warp(sum, Sum());
    if (lane == 0) mine[q * stride + D] = largest, mine[q * stride + D + 1] = sum;
  }
  __syncthreads();
  for (int q = 0; q < group; q += kQueries)
    mix<kWide, kD, kThreads>(weight, values, group, q, D, count, span, keys, mine, stride);
  if (spans > 1 && !last_block(&ended[blockIdx.x], spans)) return;
  merge<kThreads>(parts, group, D, spans, out + (token * H + g * group) * D);
}

template <bool kWide, bool kAppends, int kD, int kThreads>
void launch(const Heads& heads, const Tokens& tokens, int64_t some, const float* projected, int spans, float* partial,
            float* out, cudaStream_t stream) {
  const size_t shared = places<kWide>(heads.H / heads.G, heads.D, heads.span).all * sizeof(float);
  allow_shared<attend_span<kWide, kAppends, kD, kThreads>>();
  for (int64_t first = 0; first < tokens.N; first += some) {
    const int64_t count = tokens.N - first < some ? tokens.N - first : some;
    const dim3 grid(static_cast<unsigned>(count * heads.G), spans);
    SDA_LAUNCH((attend_span<kWide, kAppends, kD, kThreads>), grid, kThreads, shared, stream, heads, tokens, first,
               projected, spans, partial, out);
  }
}

template <bool kAppends, int kThreads, typename... Arguments>
void launch(const Heads& heads, const Arguments&... arguments) {
  if (heads.D == 128) launch<true, kAppends, 128, kThreads>(heads, arguments...);
  else if (heads.D == 64) launch<true, kAppends, 64, kThreads>(heads, arguments...);
  else if (heads.D % 4 == 0) launch<true, kAppends, 0, kThreads>(heads, arguments...);
  else launch<false, kAppends, 0, kThreads>(heads, arguments...);
}

template <bool kAppends, typename... Arguments>
void launch(const Heads& heads, const Arguments&... arguments) {
  if (threads_of(heads.H / heads.G) > 256) launch<kAppends, 512>(heads, arguments...);
  else launch<kAppends, 256>(heads, arguments...);
}

}  // namespace

int64_t attend_scratch_floats(const Layer& layer, const Tokens& tokens) {
  return tokens_a_launch(layer, tokens) * partial_floats(layer, tokens);
}

void attend(const Layer& layer, const Tokens& tokens, float* projected, float* scratch, float* out,
            cudaStream_t stream) {
  const Heads heads = {static_cast<int>(layer.H),      static_cast<int>(layer.G), static_cast<int>(layer.D),
                       static_cast<int>(layer.window), span_of(layer),            layer.epsilon,
                       layer.norms_all_heads ? nullptr : layer.query_norm,
                       layer.norms_all_heads ? nullptr : layer.key_norm,
                       layer.rotates};
  const int spans = static_cast<int>(spans_of(layer, tokens));
  const int64_t some = tokens_a_launch(layer, tokens);
  if (tokens.T == 1) return launch<true>(heads, tokens, some, projected, spans, scratch, out, stream);
  SDA_LAUNCH(append, static_cast<unsigned>(tokens.N), kAppendThreads, 0, stream, heads, tokens, projected);
  launch<false>(heads, tokens, some, projected, spans, scratch, out, stream);
}

}  // namespace cuda
}  // namespace sda
