// What a block of attend.cu does with its span of positions: keys and values into shared memory, scores, the weighted
// sum of the values, and the spans of a head put together. For it alone. Loops that run once or twice stay loops: a block
// is through so soon that fetching the instructions of unrolled ones takes longer than they save.
#pragma once

#include "../async_copy.h"
#include "../math.h"
#include "cached_cuda.h"
#include "cuda.h"

namespace sda {
namespace cuda {

constexpr int kLanes = 8;    // that share a position's key
constexpr int kQueries = 4;  // heads that a thread has at a time

// Threads of a block: more where a key-value head serves many queries.
__device__ __host__ constexpr int threads_of(int group) { return group < kQueries ? 256 : 512; }

// Values that a thread has at a time: four where rows begin at multiples of 16 bytes.
template <bool kWide>
constexpr int kCount = kWide ? 4 : 1;

// What a layer says of its heads.
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
template <typename C, bool kWide>
__device__ __host__ Places places(int group, int D, int positions) {
  const int span = C::floats(positions * D), sums = threads_of(group) * kQueries * kCount<kWide>;
  const auto after = [](int at, int floats) { return (at + floats + 3) / 4 * 4; };
  const int values = after(0, span > sums ? span : sums), query = after(values, span);
  const int weight = after(query, group * D);
  return {0, values, query, weight, weight + (group + kQueries - 1) / kQueries * kQueries * positions};
}

// Begins to copy n keys' or values' numbers into shared memory.
template <bool kWide, int kThreads, typename T>
__device__ void request(const T* from, int n, T* to) {
  constexpr int kAt = kWide ? 16 / static_cast<int>(sizeof(T)) : 1;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x) * kAt; i < n; i += kThreads * kAt) {
    if constexpr (kWide) copy_async(to + i, from + i);
    else to[i] = from[i];
  }
  commit_copies();
}

// Where the weight of head q at position j stands: kQueries heads side by side.
__device__ inline int place_of(int q, int j, int span) { return (q / kQueries * span + j) * kQueries + q % kQueries; }

// weight of q and j = scale * query q . key j. kLanes threads share a key, each with a part of its columns. kD: the size of a
// head where the compiler is to know it, else 0.
template <typename C, bool kWide, int kD, int kThreads>
__device__ void score(const float* query, const typename C::Stored* keys, int group, int size, int count, int span, float scale,
                      float* weight) {
  constexpr int kAt = kCount<kWide>;
  const int D = kD > 0 ? kD : size, lane = threadIdx.x % kLanes;
#pragma unroll 1
  for (int first = 0; first < count; first += kThreads / kLanes) {
    if (first + static_cast<int>(threadIdx.x) / kWarp * (kWarp / kLanes) >= count) break;  // none for this warp
    const int j = first + static_cast<int>(threadIdx.x) / kLanes;
    const typename C::Stored* key = keys + (j < count ? j : count - 1) * D;
#pragma unroll 1
    for (int q = 0; q < group; q += kQueries) {
      float dots[kQueries] = {};
#pragma unroll
      for (int d = lane * kAt; d < D; d += kLanes * kAt) {
        float k[kAt], v[kAt];
        C::template load<kAt>(key + d, k);
#pragma unroll
        for (int i = 0; i < kQueries; i++) {
          if (q + i >= group) break;
          load_floats<kAt>(query + (q + i) * D + d, v);
          for (int c = 0; c < kAt; c++) dots[i] += k[c] * v[c];
        }
      }
#pragma unroll
      for (int i = 0; i < kQueries; i++) {
        if (q + i >= group) break;
        for (int offset = kLanes / 2; offset > 0; offset /= 2)
          dots[i] += __shfl_xor_sync(kWholeWarp, dots[i], offset);
        if (lane == i && j < count) weight[place_of(q + i, j, span)] = scale * dots[i];
      }
    }
  }
}

// out[q][0..D) = sum over j of weight of q and j * value j, for kQueries heads from `query` on. The columns, and the
// positions of each column, are split over the threads; `sums` holds what they found.
template <typename C, bool kWide, int kD, int kThreads>
__device__ void mix(const float* weight, const typename C::Stored* values, int group, int query, int size, int count, int span,
                    float* sums, float* out, int64_t stride) {
  constexpr int kAt = kCount<kWide>;
  const int D = kD > 0 ? kD : size, columns = D / kAt, parts = kThreads / columns;
  const int used = count < parts ? count : parts;  // others have nothing to add
  const int part = static_cast<int>(threadIdx.x) / columns, d = static_cast<int>(threadIdx.x) % columns * kAt;
  if (part < used) {
    float mixed[kQueries][kAt] = {};
#pragma unroll 2
    for (int j = part; j < count; j += parts) {
      float v[kAt], w[kQueries];
      C::template load<kAt>(values + j * D + d, v);
      load_floats<kQueries>(weight + place_of(query, j, span), w);
#pragma unroll
      for (int i = 0; i < kQueries; i++)
        for (int c = 0; c < kAt; c++) mixed[i][c] += w[i] * v[c];
    }
#pragma unroll
    for (int i = 0; i < kQueries; i++) store_floats<kAt>(mixed[i], sums + (part * kQueries + i) * D + d);
  }
  __syncthreads();
  const int heads = group - query < kQueries ? group - query : kQueries;
#pragma unroll 1
  for (int i = threadIdx.x; i < heads * D; i += kThreads) {
    float sum = 0.0f;
#pragma unroll 8
    for (int p = 0; p < used; p++) sum += sums[p * kQueries * D + i];
    out[(query + i / D) * stride + i % D] = sum;
  }
  __syncthreads();
}

// What a span has found of a head, in floats: D unnormalised values, the largest score, the sum of the weights.
__device__ __host__ constexpr int64_t part_floats(int64_t D) { return D + 4; }

// The spans of each head, put together: `parts` has part_floats of each query head and span. `shared`: `room` floats.
template <bool kWide, int kThreads>
__device__ void merge(float* parts, int group, int D, int spans, float* shared, int room, float* out) {
  __shared__ float whole[kMostGroup];
  const int64_t size = part_floats(D), stride = spans * size;
  // Each span's factor: where memory is short, in place of its largest score.
  const bool fits = group * spans <= room;
  float* const factors = fits ? shared : parts + D;
  const int64_t of_head = fits ? spans : stride, of_span = fits ? 1 : size;
#pragma unroll 1
  for (int q = threadIdx.x / kWarp; q < group; q += kThreads / kWarp) {
    const int lane = threadIdx.x % kWarp;
    const float* const part = parts + q * stride;
    float largest = -kInfinity, sum = 0.0f;
#pragma unroll 1
    for (int s = lane; s < spans; s += kWarp) largest = max_of(largest, part[s * size + D]);
    largest = reduce_warp(largest, Largest());
#pragma unroll 1
    for (int s = lane; s < spans; s += kWarp) {
      const float here = part[s * size + D];
      const float factor = here > -kInfinity ? exp_fast(here - largest) : 0.0f;
      sum += factor * part[s * size + D + 1];
      factors[q * of_head + s * of_span] = factor;
    }
    sum = reduce_warp(sum, Sum());
    if (lane == 0) whole[q] = sum;
  }
  __syncthreads();
  constexpr int kAt = kCount<kWide>;
#pragma unroll 1
  for (int i = threadIdx.x * kAt; i < group * D; i += kThreads * kAt) {
    const int q = i / D, d = i % D;
    const float* const part = parts + q * stride + d;
    float mixed[kAt] = {};
#pragma unroll 8
    for (int s = 0; s < spans; s++) {
      float value[kAt];
      load_floats<kAt>(part + s * size, value);
      const float factor = factors[q * of_head + s * of_span];
      for (int c = 0; c < kAt; c++) mixed[c] += factor * value[c];
    }
#pragma unroll 1
    for (int c = 0; c < kAt; c++) out[i + c] = whole[q] > 0.0f ? mixed[c] / whole[q] : 0.0f;
  }
}

// A warp turns one head of a token by its place: its norm, then the rotary embedding, each where there is one.
template <typename To>
__device__ void turn(const float* head, const float* norm, float epsilon, const float* rotation, int D, To* to, To* also) {
  const int lane = threadIdx.x % kWarp, half = D / 2;
  float scale = 1.0f;
  if (norm) {
    float squares = 0.0f;
#pragma unroll 1
    for (int d = lane; d < D; d += kWarp) squares += head[d] * head[d];
    scale = 1.0f / sqrtf(reduce_warp(squares, Sum()) / static_cast<float>(D) + epsilon);
  }
#pragma unroll 2
  for (int d = lane; d < half; d += kWarp) {
    const float a = norm ? head[d] * scale * norm[d] : head[d];
    const float b = norm ? head[d + half] * scale * norm[d + half] : head[d + half];
    const float c = rotation ? rotation[d] : 1.0f, s = rotation ? rotation[half + d] : 0.0f;
    const float first = a * c - b * s, second = b * c + a * s;
    store(first, to[d]), store(second, to[d + half]);
    if (also) store(first, also[d]), store(second, also[d + half]);
  }
}

// Null where heads are not rotated.
__device__ inline const float* rotation_of(const Heads& heads, const Tokens& tokens, int32_t position) {
  return heads.rotates ? tokens.rotation + static_cast<int64_t>(position) * heads.D : nullptr;
}

template <typename To>
__device__ void copy(const float* from, int D, To* to, To* also) {
#pragma unroll 4
  for (int d = threadIdx.x % kWarp; d < D; d += kWarp) {
    store(from[d], to[d]);
    if (also) store(from[d], also[d]);
  }
}

// The query heads of key-value head `head % G` of token first + head / G, over span `part` of `spans`. kAppends: the
// token's key and value are not in the cache yet, nor its queries turned. `partial` holds what the spans of tokens from
// `first` on found; `ended` counts those of this head that are through, 0 before and after.
template <typename C, bool kWide, bool kAppends, int kD, int kThreads>
__device__ void attend_part(const Heads& heads, const Tokens& tokens, int64_t first, int head, int part,
                            const float* projected, int spans, float* partial, unsigned* ended, float* out,
                            float* shared) {
  if constexpr (!kAppends) await_previous();
  const int H = heads.H, G = heads.G, D = heads.D, group = H / G, warp = threadIdx.x / kWarp;
  constexpr int kWarps = kThreads / kWarp;
  const int g = head % G, span = heads.span;  // positions
  const int64_t token = first + head / G;
  const int32_t position = load_fresh(tokens.position + token);
  const int64_t row = load_fresh(tokens.row + (kAppends ? token : token / tokens.T));
  const Places at = places<C, kWide>(group, D, span);
  using Stored = typename C::Stored;
  Stored* const keys = reinterpret_cast<Stored*>(shared + at.keys);
  Stored* const values = reinterpret_cast<Stored*>(shared + at.values);
  Stored *const all_keys = static_cast<Stored*>(tokens.keys), *const all_values = static_cast<Stored*>(tokens.values);
  float *const query = shared + at.query, *const weight = shared + at.weight;  // [group, D]; of each head and position

  const int64_t first_seen = heads.window > 0 && position >= heads.window ? position - heads.window + 1 : 0;
  const int64_t span_begin = static_cast<int64_t>(part) * span, span_end = span_begin + span;
  const int64_t begin = span_begin > first_seen ? span_begin : first_seen;
  const int64_t end = position + 1 < span_end ? position + 1 : span_end;
  const int count = end > begin ? static_cast<int>(end - begin) : 0;
  const bool appends = kAppends && count > 0 && end == position + 1;
  const int64_t slot = ((row * G + g) * tokens.capacity + begin) * D;
  const int there = (appends ? count - 1 : count) * D;
  request<kWide, kThreads>(all_keys + slot, there, keys);
  request<kWide, kThreads>(all_values + slot, there, values);
  if constexpr (kAppends) await_previous();  // places and cache are older than the launch before

  const float* const line = projected + token * (H + 2 * G) * D;
  if constexpr (kAppends) {
    const float* rotation = rotation_of(heads, tokens, position);
#pragma unroll 1
    for (int h = warp; h < group + 1 && position >= 0; h += kWarps) {  // queries, and the key
      const bool is_key = h == group;
      if (is_key && !appends) continue;
      if constexpr (C::kNarrow) {
        const float* const head = line + (is_key ? H + g : g * group + h) * D;
        if (is_key) turn(head, heads.key_norm, heads.epsilon, rotation, D, keys + there, all_keys + slot + there);
        else turn<float>(head, heads.query_norm, heads.epsilon, rotation, D, query + h * D, nullptr);
      } else {  // one call, as both are float32
        turn(line + (is_key ? H + g : g * group + h) * D, is_key ? heads.key_norm : heads.query_norm, heads.epsilon,
             rotation, D, is_key ? keys + there : query + h * D, is_key ? all_keys + slot + there : nullptr);
      }
    }
    if (appends && warp == kWarps - 1) copy(line + (H + G + g) * D, D, values + there, all_values + slot + there);
  } else {
    for (int i = threadIdx.x; i < group * D; i += kThreads) query[i] = line[g * group * D + i];
  }
  await_copies<1>();
  __syncthreads();
  score<C, kWide, kD, kThreads>(query, keys, group, D, count, span, 1.0f / sqrtf(static_cast<float>(D)), weight);
  await_copies<0>();
  __syncthreads();

  float* const parts = partial + ((token - first) * H + g * group) * spans * part_floats(D);
  float* const mine = parts + part * part_floats(D);
  const int64_t stride = spans * part_floats(D);  // of a head
#pragma unroll 1
  for (int q = warp; q < group; q += kWarps) {
    const int lane = threadIdx.x % kWarp;
    float largest = -kInfinity, sum = 0.0f;
#pragma unroll 1
    for (int j = lane; j < count; j += kWarp) largest = max_of(largest, weight[place_of(q, j, span)]);
    largest = reduce_warp(largest, Largest());
#pragma unroll 1
    for (int j = lane; j < count; j += kWarp) {
      float& w = weight[place_of(q, j, span)];
      sum += w = exp_fast(w - largest);
    }
    sum = reduce_warp(sum, Sum());
    if (lane == 0) mine[q * stride + D] = largest, mine[q * stride + D + 1] = sum;
  }
  __syncthreads();
#pragma unroll 1
  for (int q = 0; q < group; q += kQueries)
    mix<C, kWide, kD, kThreads>(weight, values, group, q, D, count, span, shared + at.keys, mine, stride);
  if (spans > 1 && !last_block(ended, spans)) return;
  merge<kWide, kThreads>(parts, group, D, spans, shared, at.all, out + (token * H + g * group) * D);
}

}  // namespace cuda
}  // namespace sda
