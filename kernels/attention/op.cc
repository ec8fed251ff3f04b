// SdaAttention: causal grouped-query attention of new tokens over a key-value cache.
//
//   q, k = rotate(norm(q)), rotate(norm(k));  cache[row][slot = position] = k, v;
//   out = softmax(q K^T / sqrt(D)) V over the slots 0..position (or the last `window` of them)
//
//   qkv [R T, (H + 2 G) D] float32; positions [R, T], rows [R] int32; rotation [R T, D];
//   keys, values: resource variables float32 [cache rows, G, capacity, D], written in place
//
// Fused: head norms, rotary embedding, append, scores, softmax, sum of values. One pass over the cached keys
// and one over the values per group of queries. Bytes of a decoding call: 8 R G D (position + 1), the cache
// read; padding (position -1) writes nothing and gets zeros.

#include "../op.h"
#include "heads.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace sda {

using tensorflow::Var;

// An absent head norm is marked by its attribute; qkv stands in its place.
REGISTER_OP("SdaAttention")
    .Input("qkv: float")
    .Input("positions: int32")
    .Input("rows: int32")
    .Input("rotation: float")
    .Input("keys: resource")
    .Input("values: resource")
    .Input("query_norm: float")
    .Input("key_norm: float")
    .Output("y: float")
    .Attr("num_heads: int >= 1")
    .Attr("num_key_value_heads: int >= 1")
    .Attr("head_dim: int >= 2")
    .Attr("window: int >= 0")
    .Attr("has_query_norm: bool")
    .Attr("has_key_norm: bool")
    .Attr("epsilon: float")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle qkv, positions;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &qkv));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &positions));
      int64_t heads, head_dim;
      TF_RETURN_IF_ERROR(c->GetAttr("num_heads", &heads));
      TF_RETURN_IF_ERROR(c->GetAttr("head_dim", &head_dim));
      c->set_output(0, c->Matrix(c->Dim(qkv, 0), heads * head_dim));
      return absl::OkStatus();
    });

class AttentionOp : public OpKernel {
 public:
  explicit AttentionOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_heads", &H_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_key_value_heads", &G_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("head_dim", &D_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("window", &window_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_query_norm", &has_query_norm_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("has_key_norm", &has_key_norm_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES(ctx, H_ % G_ == 0 && D_ % 2 == 0,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaAttention: num_heads (", H_, ") must be a multiple of num_key_value_heads (",
                    G_, ") and head_dim (", D_, ") even.")));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& qkv = ctx->input(0);
    const Tensor& positions = ctx->input(1);
    const Tensor& rows = ctx->input(2);
    const Tensor& rotation = ctx->input(3);
    OP_REQUIRES_OK(ctx, check_shape("SdaAttention", "positions", positions, {-1, -1}));
    const int64_t R = positions.dim_size(0), T = positions.dim_size(1), N = R * T;
    OP_REQUIRES_OK(ctx, check_shape("SdaAttention", "rows", rows, {R}));
    OP_REQUIRES_OK(ctx, check_shape("SdaAttention", "qkv", qkv, {N, (H_ + 2 * G_) * D_}));
    OP_REQUIRES_OK(ctx, check_shape("SdaAttention", "rotation", rotation, {N, D_}));
    if (has_query_norm_)
      OP_REQUIRES_OK(ctx, check_shape("SdaAttention", "query_norm", ctx->input(6), {D_}));
    if (has_key_norm_)
      OP_REQUIRES_OK(ctx, check_shape("SdaAttention", "key_norm", ctx->input(7), {D_}));

    tensorflow::core::RefCountPtr<Var> key_var, value_var;
    OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, 4), &key_var));
    OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, 5), &value_var));
    tensorflow::mutex_lock key_lock(*key_var->mu());
    tensorflow::mutex_lock value_lock(*value_var->mu());
    for (Var* var : {key_var.get(), value_var.get()}) {
      OP_REQUIRES_OK(ctx, check_shape("SdaAttention", "cache", *var->tensor(), {-1, G_, -1, D_}));
      OP_REQUIRES(ctx, var->tensor()->dtype() == DT_FLOAT,
                  absl::InvalidArgumentError("SdaAttention: the cache must be float32."));
    }
    OP_REQUIRES(ctx, key_var->tensor()->shape() == value_var->tensor()->shape(),
                absl::InvalidArgumentError("SdaAttention: keys and values differ in shape."));
    const int32_t* position = positions.flat<int32_t>().data();
    const int32_t* row = rows.flat<int32_t>().data();
    OP_REQUIRES_OK(ctx, check_indices(position, row, R, N, key_var->tensor()->shape()));
    OP_REQUIRES_OK(ctx, make_exclusive(ctx, key_var->tensor()));
    OP_REQUIRES_OK(ctx, make_exclusive(ctx, value_var->tensor()));

    const int64_t stride = round_up(D_, kStep);
    Tensor queries;
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, TensorShape({N, H_, stride}), &queries));
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({N, H_ * D_}), &output));

    Call call;
    call.qkv = qkv.flat<float>().data();
    call.rotation = rotation.flat<float>().data();
    call.query_norm = values_if(has_query_norm_, ctx->input(6));
    call.key_norm = values_if(has_key_norm_, ctx->input(7));
    call.position = position;
    call.row = row;
    call.T = T;
    call.capacity = key_var->tensor()->dim_size(2);
    call.keys = key_var->tensor()->flat<float>().data();
    call.values = value_var->tensor()->flat<float>().data();
    call.queries = queries.flat<float>().data();
    call.stride = stride;
    call.y = output->flat<float>().data();

    parallel_for(ctx, N, 1 + 16384 / ((H_ + 2 * G_) * D_), [&](int64_t begin, int64_t end) {
      for (int64_t token = begin; token < end; token++) append(call, token);
    });
    // A piece of work: one token with the query heads of one key-value head.
    int64_t length = 1;
    for (int64_t token = 0; token < N; token++)
      length = std::max<int64_t>(length, position[token] + 1);
    const int64_t grain = 1 + 40000 / (length * D_ * (H_ / G_));
    parallel_for(ctx, R * G_ * T, grain, [&](int64_t begin, int64_t end) {
      std::vector<float> scores;
      for (int64_t piece = begin; piece < end; piece++) {
        const int64_t stream = piece / (G_ * T), g = piece / T % G_;
        attend(call, stream * T + piece % T, g, scores);
      }
    });
  }

 private:
  struct Call {
    const float *qkv, *rotation, *query_norm, *key_norm;
    const int32_t *position, *row;
    int64_t T, capacity, stride;
    float *keys, *values, *queries, *y;
  };

  absl::Status check_indices(const int32_t* position, const int32_t* row, int64_t R, int64_t N,
                             const TensorShape& cache) const {
    for (int64_t i = 0; i < N; i++) {
      if (position[i] < -1 || position[i] >= cache.dim_size(2))
        return absl::InvalidArgumentError(absl::StrCat(
            "attention: positions must lie in -1..", cache.dim_size(2) - 1,
            " (the cache's capacity), but one is ", position[i], "."));
    }
    std::vector<bool> used(cache.dim_size(0));
    for (int64_t r = 0; r < R; r++) {
      if (row[r] < 0 || row[r] >= cache.dim_size(0) || used[row[r]])
        return absl::InvalidArgumentError(absl::StrCat("attention: rows must be different numbers in 0..",
                                                       cache.dim_size(0) - 1, ", but one is ",
                                                       row[r], "."));
      used[row[r]] = true;
    }
    return absl::OkStatus();
  }

  // Gives the variable memory of its own where a reader still holds it.
  static absl::Status make_exclusive(OpKernelContext* ctx, Tensor* tensor) {
    if (tensor->RefCountIsOne()) return absl::OkStatus();
    Tensor copy;
    TF_RETURN_IF_ERROR(ctx->allocate_temp(DT_FLOAT, tensor->shape(), &copy));
    std::memcpy(copy.data(), tensor->data(), tensor->TotalBytes());
    *tensor = copy;
    return absl::OkStatus();
  }

  // Rotated queries of one token to the scratch, its keys and values to the cache.
  void append(const Call& call, int64_t token) const {
    const float* line = call.qkv + token * (H_ + 2 * G_) * D_;
    const float* rotation = call.rotation + token * D_;
    const int64_t position = call.position[token];
    for (int64_t h = 0; h < H_; h++) {
      float* to = call.queries + (token * H_ + h) * call.stride;
      norm_and_rotate(line + h * D_, D_, call.query_norm, epsilon_, rotation, to);
      std::fill(to + D_, to + call.stride, 0.0f);
    }
    if (position < 0) return;
    const int64_t row = call.row[token / call.T];
    for (int64_t g = 0; g < G_; g++) {
      const int64_t slot = ((row * G_ + g) * call.capacity + position) * D_;
      norm_and_rotate(line + (H_ + g) * D_, D_, call.key_norm, epsilon_, rotation, call.keys + slot);
      std::copy_n(line + (H_ + G_ + g) * D_, D_, call.values + slot);
    }
  }

  // One token with the query heads of key-value head g.
  void attend(const Call& call, int64_t token, int64_t g, std::vector<float>& scores) const {
    const int64_t group = H_ / G_;
    const int64_t position = call.position[token];
    float* out = call.y + (token * H_ + g * group) * D_;
    if (position < 0) {
      std::fill_n(out, group * D_, 0.0f);
      return;
    }
    const int64_t first = window_ > 0 ? std::max<int64_t>(0, position - window_ + 1) : 0;
    const int64_t count = position + 1 - first;
    const int64_t slot = ((call.row[token / call.T] * G_ + g) * call.capacity + first) * D_;
    const float* queries = call.queries + (token * H_ + g * group) * call.stride;
    const float scale = 1.0f / std::sqrt(static_cast<float>(D_));
    scores.resize(group * count);
    score_keys(queries, call.stride, group, call.keys + slot, count, D_, scale, scores.data());
    for (int64_t q = 0; q < group; q++) softmax(scores.data() + q * count, count);
    mix_values(scores.data(), group, call.values + slot, count, D_, out);
  }

  int64_t H_, G_, D_, window_;
  bool has_query_norm_, has_key_norm_;
  float epsilon_;
};

REGISTER_KERNEL_BUILDER(Name("SdaAttention").Device(tensorflow::DEVICE_CPU), AttentionOp);
SDA_OPERATION(SdaAttention);

}  // namespace sda
