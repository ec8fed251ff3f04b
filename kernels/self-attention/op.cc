// SdaSelfAttention: the attention half of a decoder block, for new tokens over a key-value cache.
//
//   h = norm(x);  q, k, v = qkv(h);  q, k = rotate(head_norm(q)), rotate(head_norm(k))
//   cache[row][slot = position] = k, v
//   y = x + o(softmax(q K^T / sqrt(D)) V)   over the slots 0..position (or the last `window` of them)
//
//   x [R T, K], norm [K], rotation [R T, D] float32; positions [R, T], rows [R] int32;
//   qkv [(H + 2 G) D, K], o [K, H D]: float32, bfloat16 or float16; keys, values: resource variables float32
//   [cache rows, G, capacity, D], written in place; y [R T, K]
//
// Fused, as five phases of one operation: RMSNorm, the projections and their biases, head norms, rotary embedding,
// append, scores, softmax, sum of values, output projection, residual. One pass over the weights, and one over the
// cached keys and values per token and key-value head. Bytes of a decoding call: the weights and
// 8 R G D (position + 1) of the cache. Padding (position -1) writes nothing; its lines hold no meaning.

#include "../linear/project.h"
#include "heads.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace sda {

using tensorflow::Var;

// An absent input (biases, head norms) is marked by its attribute; x stands in its place.
REGISTER_OP("SdaSelfAttention")
    .Input("x: float")
    .Input("norm: float")
    .Input("qkv: Tqkv")
    .Input("qkv_bias: float")
    .Input("o: To")
    .Input("o_bias: float")
    .Input("query_norm: float")
    .Input("key_norm: float")
    .Input("positions: int32")
    .Input("rows: int32")
    .Input("rotation: float")
    .Input("keys: resource")
    .Input("values: resource")
    .Output("y: float")
    .Attr("Tqkv: {float, bfloat16, half}")
    .Attr("To: {float, bfloat16, half}")
    // H, G, D, window (0: all), then 0 or 1 for: qkv_bias, o_bias, query_norm and key_norm
    .Attr("shape: list(int) = [1, 1, 2, 0, 0, 0, 0]")
    .Attr("epsilon: float")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
      c->set_output(0, x);
      return absl::OkStatus();
    });

class SelfAttentionOp : public OpKernel {
 public:
  explicit SelfAttentionOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    std::vector<int64_t> shape;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("shape", &shape));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES(ctx, shape.size() == 7,
                absl::InvalidArgumentError("SdaSelfAttention: shape must hold 7 numbers."));
    H_ = shape[0];
    G_ = shape[1];
    D_ = shape[2];
    window_ = shape[3];
    has_qkv_bias_ = shape[4];
    has_o_bias_ = shape[5];
    has_head_norms_ = shape[6];
    OP_REQUIRES(ctx, G_ > 0 && H_ > 0 && H_ % G_ == 0 && D_ > 0 && D_ % 2 == 0 && window_ >= 0,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaSelfAttention: the number of heads (", H_,
                    ") must be a multiple of the number of key-value heads (", G_, "), their size (",
                    D_, ") even and the window (", window_, ") at least 0.")));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, check_inputs(ctx));
    const Tensor &x = ctx->input(0), &qkv = ctx->input(2), &o = ctx->input(4);
    const Tensor &positions = ctx->input(8), &rows = ctx->input(9);
    const int64_t N = x.dim_size(0), K = x.dim_size(1);

    tensorflow::core::RefCountPtr<Var> key_var, value_var;
    OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, 11), &key_var));
    OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, 12), &value_var));
    tensorflow::mutex_lock key_lock(*key_var->mu());
    tensorflow::mutex_lock value_lock(*value_var->mu());
    OP_REQUIRES_OK(ctx, check_cache(*key_var->tensor(), *value_var->tensor()));
    Call call;
    call.position = positions.flat<int32_t>().data();
    call.row = rows.flat<int32_t>().data();
    OP_REQUIRES_OK(ctx, check_indices(call, rows.dim_size(0), N, key_var->tensor()->shape()));
    OP_REQUIRES_OK(ctx, make_exclusive(ctx, key_var->tensor()));
    OP_REQUIRES_OK(ctx, make_exclusive(ctx, value_var->tensor()));

    call.width = (H_ + 2 * G_) * D_;
    call.stride = round_up(D_, kStep);
    Tensor projected, queries, *y = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, TensorShape({N, call.width}), &projected));
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, TensorShape({N, H_ * call.stride}), &queries));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({N, K}), &y));
    PackedRows hidden, mixed;
    OP_REQUIRES_OK(ctx, hidden.allocate(ctx, N, qkv));
    OP_REQUIRES_OK(ctx, mixed.allocate(ctx, N, o));
    for (int64_t token = 0; token < N; token++) mixed.clear_end(token);

    call.projected = projected.flat<float>().data();
    call.queries = queries.flat<float>().data();
    call.rotation = ctx->input(10).flat<float>().data();
    call.query_norm = values_if(has_head_norms_, ctx->input(6));
    call.key_norm = values_if(has_head_norms_, ctx->input(7));
    call.T = positions.dim_size(1);
    call.capacity = key_var->tensor()->dim_size(2);
    call.keys = key_var->tensor()->flat<float>().data();
    call.values = value_var->tensor()->flat<float>().data();
    call.mixed = &mixed;

    const float* residual = x.flat<float>().data();
    const auto keep = add_to(call.projected, N, call.width, values_if(has_qkv_bias_, ctx->input(3)), nullptr);
    const auto emit = add_to(y->flat<float>().data(), N, K, values_if(has_o_bias_, ctx->input(5)), residual);
    run_phases(ctx,
               {pack_phase(residual, ctx->input(1).flat<float>().data(), epsilon_, qkv, hidden),
                project_phase(qkv, 1, hidden, keep),
                {N, 1, [&](int64_t begin, int64_t end) {
                   for (int64_t token = begin; token < end; token++) append(call, token);
                 }},
                {N * G_, 1, [&](int64_t begin, int64_t end) {
                   for (int64_t piece = begin; piece < end; piece++) attend(call, piece / G_, piece % G_);
                 }},
                project_phase(o, 1, mixed, emit)});
  }

 private:
  struct Call {
    const float *rotation, *query_norm, *key_norm;
    const int32_t *position, *row;
    int64_t T, capacity, stride, width;
    float *projected, *keys, *values, *queries;
    const PackedRows* mixed;
  };

  absl::Status check_inputs(OpKernelContext* ctx) const {
    constexpr const char* kOp = "SdaSelfAttention";
    TF_RETURN_IF_ERROR(check_shape(kOp, "x", ctx->input(0), {-1, -1}));
    TF_RETURN_IF_ERROR(check_shape(kOp, "positions", ctx->input(8), {-1, -1}));
    const int64_t N = ctx->input(0).dim_size(0), K = ctx->input(0).dim_size(1);
    const int64_t R = ctx->input(8).dim_size(0), width = (H_ + 2 * G_) * D_;
    if (R * ctx->input(8).dim_size(1) != N)
      return absl::InvalidArgumentError(absl::StrCat(
          kOp, ": positions must be as many as x has rows, ", N, ", but have the shape ",
          ctx->input(8).shape().DebugString(), "."));
    TF_RETURN_IF_ERROR(check_shape(kOp, "norm", ctx->input(1), {K}));
    TF_RETURN_IF_ERROR(check_shape(kOp, "qkv", ctx->input(2), {width, K}));
    if (has_qkv_bias_) TF_RETURN_IF_ERROR(check_shape(kOp, "qkv_bias", ctx->input(3), {width}));
    TF_RETURN_IF_ERROR(check_shape(kOp, "o", ctx->input(4), {K, H_ * D_}));
    if (has_o_bias_) TF_RETURN_IF_ERROR(check_shape(kOp, "o_bias", ctx->input(5), {K}));
    if (has_head_norms_) {
      TF_RETURN_IF_ERROR(check_shape(kOp, "query_norm", ctx->input(6), {D_}));
      TF_RETURN_IF_ERROR(check_shape(kOp, "key_norm", ctx->input(7), {D_}));
    }
    TF_RETURN_IF_ERROR(check_shape(kOp, "rows", ctx->input(9), {R}));
    return check_shape(kOp, "rotation", ctx->input(10), {N, D_});
  }

  absl::Status check_cache(const Tensor& keys, const Tensor& values) const {
    for (const Tensor* cache : {&keys, &values}) {
      TF_RETURN_IF_ERROR(check_shape("SdaSelfAttention", "cache", *cache, {-1, G_, -1, D_}));
      if (cache->dtype() != DT_FLOAT)
        return absl::InvalidArgumentError("SdaSelfAttention: the cache must be float32.");
    }
    if (keys.shape() == values.shape()) return absl::OkStatus();
    return absl::InvalidArgumentError("SdaSelfAttention: keys and values differ in shape.");
  }

  static absl::Status check_indices(const Call& call, int64_t R, int64_t N, const TensorShape& cache) {
    for (int64_t i = 0; i < N; i++) {
      if (call.position[i] < -1 || call.position[i] >= cache.dim_size(2))
        return absl::InvalidArgumentError(absl::StrCat(
            "selfAttention: positions must lie in -1..", cache.dim_size(2) - 1,
            " (the cache's capacity), but one is ", call.position[i], "."));
    }
    std::vector<bool> used(cache.dim_size(0));
    for (int64_t r = 0; r < R; r++) {
      const int32_t row = call.row[r];
      if (row < 0 || row >= cache.dim_size(0) || used[row])
        return absl::InvalidArgumentError(
            absl::StrCat("selfAttention: rows must be different numbers in 0..",
                         cache.dim_size(0) - 1, ", but one is ", row, "."));
      used[row] = true;
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
    const float* line = call.projected + token * call.width;
    const float* rotation = call.rotation + token * D_;
    const int64_t position = call.position[token];
    if (position < 0) return;
    for (int64_t h = 0; h < H_; h++) {
      float* to = call.queries + (token * H_ + h) * call.stride;
      norm_and_rotate(line + h * D_, D_, call.query_norm, epsilon_, rotation, to);
      std::fill(to + D_, to + call.stride, 0.0f);
    }
    const int64_t row = call.row[token / call.T];
    for (int64_t g = 0; g < G_; g++) {
      const int64_t slot = ((row * G_ + g) * call.capacity + position) * D_;
      norm_and_rotate(line + (H_ + g) * D_, D_, call.key_norm, epsilon_, rotation, call.keys + slot);
      std::copy_n(line + (H_ + G_ + g) * D_, D_, call.values + slot);
    }
  }

  // One token with the query heads of key-value head g; the result goes where the rows of o want it.
  void attend(const Call& call, int64_t token, int64_t g) const {
    thread_local std::vector<float> scores, out;
    const int64_t group = H_ / G_;
    const int64_t position = call.position[token];
    out.assign(group * D_, 0.0f);
    if (position >= 0) {
      const int64_t first = window_ > 0 ? std::max<int64_t>(0, position - window_ + 1) : 0;
      const int64_t count = position + 1 - first;
      const int64_t slot = ((call.row[token / call.T] * G_ + g) * call.capacity + first) * D_;
      const float* queries = call.queries + (token * H_ + g * group) * call.stride;
      const float scale = 1.0f / std::sqrt(static_cast<float>(D_));
      scores.resize(group * count);
      score_keys(queries, call.stride, group, call.keys + slot, count, D_, scale, scores.data());
      for (int64_t q = 0; q < group; q++) softmax(scores.data() + q * count, count);
      mix_values(scores.data(), group, call.values + slot, count, D_, out.data());
    }
    float* row = call.mixed->row(token);
    for (int64_t i = 0; i < group * D_; i++) row[call.mixed->index(g * group * D_ + i)] = out[i];
  }

  int64_t H_, G_, D_, window_;
  bool has_qkv_bias_, has_o_bias_, has_head_norms_;
  float epsilon_;
};

REGISTER_KERNEL_BUILDER(Name("SdaSelfAttention").Device(tensorflow::DEVICE_CPU), SelfAttentionOp);
SDA_OPERATION(SdaSelfAttention);

}  // namespace sda
