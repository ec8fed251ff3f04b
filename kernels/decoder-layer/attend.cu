// Attention of new tokens over the cache on an NVIDIA GPU: head norms, rotary embedding, keys and values appended to the
// cache, softmax over the positions that a token sees. attention.h says what it computes.
//
// A block has the query heads of one key-value head of a token, over a span of positions, kSpan or fewer: it copies the
// span's keys and values into shared memory, all on their way at once. The last block of a head to end puts the spans
// together, in their order. A row's single new token (decoding) is appended by the block that sees it: one launch, which
// asks for the cache before the launch ahead of it is through. For several of a row, a launch appends all of them first, and
// long prompts over a long past take several launches of the rest.
// Bytes: 8 G D (position + 1) of the cache a token, half of that in bfloat16, which shared memory holds as it is.

#include "attend.h"

#include "../math.h"
#include "attend_span.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kFewHeads = 8;  // key-value heads of a layer
constexpr int kSpan = 64, kSpanOfFewHeads = 32;  // positions; fewer where shared memory is short of room for them
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

// Positions of a span: the same whatever rows there are, so that a row's sums are. Short ones where there are few heads, so
// that more multiprocessors have one.
int span_of(const Layer& layer) {
  int span = layer.G < kFewHeads ? kSpanOfFewHeads : kSpan;
  const auto bytes = [&] {
    return places<CachedFloat32, true>(layer.H / layer.G, layer.D, span).all * sizeof(float) + 1024;
  };
  while (span > 1 && bytes() > device().shared) span /= 2;
  return span;
}
int64_t spans_of(const Layer& layer, const Tokens& tokens) {
  return ceil_div(tokens.longest > 0 ? tokens.longest : 1, span_of(layer));
}

// What a token of a launch needs, and how many tokens a launch takes.
int64_t partial_floats(const Layer& layer, const Tokens& tokens) {
  return layer.H * spans_of(layer, tokens) * part_floats(layer.D);
}
int64_t tokens_a_launch(const Layer& layer, const Tokens& tokens) {
  int64_t most = kPartialBytes / static_cast<int64_t>(sizeof(float)) / partial_floats(layer, tokens);
  if (most > kMostHeads / layer.G) most = kMostHeads / layer.G;
  return most < 1 ? 1 : most < tokens.N ? most : tokens.N;
}

// A warp a head of a token: queries stay in `projected`, keys and values go to the cache.
template <typename C>
__global__ void append(Heads heads, Tokens tokens, float* projected) {
  await_previous();
  using Stored = typename C::Stored;
  Stored *const keys = static_cast<Stored*>(tokens.keys), *const values = static_cast<Stored*>(tokens.values);
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
    if (h < H) turn<float>(head, heads.query_norm, heads.epsilon, rotation, D, head, nullptr);
    else if (h < H + G) turn<Stored>(head, heads.key_norm, heads.epsilon, rotation, D, keys + slot, nullptr);
    else copy<Stored>(head, D, values + slot, nullptr);
  }
}

// Query heads of one key-value head over one span of positions, of the tokens from `first` on.
template <typename C, bool kWide, bool kAppends, int kD, int kThreads>
__global__ void __launch_bounds__(kThreads, kThreads > 256 ? 2 : 3)
    attend_span(Heads heads, Tokens tokens, int64_t first, const float* projected, int spans, float* partial, float* out) {
  SDA_DYNAMIC_SHARED(float, shared);
  const int head = static_cast<int>(blockIdx.x), part = static_cast<int>(blockIdx.y);
  attend_part<C, kWide, kAppends, kD, kThreads>(heads, tokens, first, head, part, projected, spans, partial, &ended[head], out,
                                                shared);
}

template <typename C, bool kWide, bool kAppends, int kD, int kThreads>
void launch(const Heads& heads, const Tokens& tokens, int64_t some, const float* projected, int spans, float* partial,
            float* out, cudaStream_t stream) {
  const size_t shared = places<C, kWide>(heads.H / heads.G, heads.D, heads.span).all * sizeof(float);
  allow_shared<attend_span<C, kWide, kAppends, kD, kThreads>>();
  for (int64_t first = 0; first < tokens.N; first += some) {
    const int64_t count = tokens.N - first < some ? tokens.N - first : some;
    const dim3 grid(static_cast<unsigned>(count * heads.G), spans);
    SDA_LAUNCH((attend_span<C, kWide, kAppends, kD, kThreads>), grid, kThreads, shared, stream, heads, tokens, first,
               projected, spans, partial, out);
  }
}

template <typename C, bool kAppends, int kThreads, typename... Arguments>
void launch(const Heads& heads, const Arguments&... arguments) {
  if (heads.D == 128) launch<C, true, kAppends, 128, kThreads>(heads, arguments...);
  else if (heads.D == 64) launch<C, true, kAppends, 64, kThreads>(heads, arguments...);
  else if (heads.D % C::kWide == 0) launch<C, true, kAppends, 0, kThreads>(heads, arguments...);
  else launch<C, false, kAppends, 0, kThreads>(heads, arguments...);
}

template <typename C, bool kAppends, typename... Arguments>
void launch(const Heads& heads, const Arguments&... arguments) {
  if (threads_of(heads.H / heads.G) > 256) launch<C, kAppends, 512>(heads, arguments...);
  else launch<C, kAppends, 256>(heads, arguments...);
}

template <typename C>
void run(const Heads& heads, const Tokens& tokens, int64_t some, float* projected, int spans, float* scratch, float* out,
         cudaStream_t stream) {
  const bool one_each = tokens.T == 1 && !tokens.row_twice;
  if (one_each) return launch<C, true>(heads, tokens, some, projected, spans, scratch, out, stream);
  SDA_LAUNCH(append<C>, static_cast<unsigned>(tokens.N), kAppendThreads, 0, stream, heads, tokens, projected);
  launch<C, false>(heads, tokens, some, projected, spans, scratch, out, stream);
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
  if (tokens.narrow) run<CachedBfloat16>(heads, tokens, some, projected, spans, scratch, out, stream);
  else run<CachedFloat32>(heads, tokens, some, projected, spans, scratch, out, stream);
}

}  // namespace cuda
}  // namespace sda
