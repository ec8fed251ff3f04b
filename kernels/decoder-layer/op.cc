// SdaDecoderLayer: one layer of a Llama- or Qwen-like decoder, for new tokens over a key-value cache.
//
//   y = mlp(attention(x)), each with its RMSNorm and residual: attention.h, mlp.h
//
//   x [R T, K], rotation [R T, D] float32; positions [R, T], rows [R] int32;
//   layer: a handle made by SdaDecoderLayerWeights, matrices float32, bfloat16 or float16;
//   keys, values: resource variables float32 [cache rows, G, capacity, D], written in place; y [R T, K]
//
// Fused: everything, as eight phases that all threads go through together. One pass over the weights, and one over the
// cached keys and values per token and key-value head. Bytes of a decoding call: the weights and
// 8 R G D (position + 1) of the cache. Padding (position -1) writes nothing; its lines hold no meaning.
//
// SdaDecoderLayerWeights: checks a layer's tensors against each other and makes the handle, which keeps them alive.

#include "../op.h"
#include "attention.h"
#include "mlp.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace sda {

using tensorflow::DT_RESOURCE;
using tensorflow::Var;

// An absent vector (a bias, a head norm) is empty.
REGISTER_OP("SdaDecoderLayerWeights")
    .Input("input_norm: float")
    .Input("qkv: Tqkv")
    .Input("qkv_bias: float")
    .Input("query_norm: float")
    .Input("key_norm: float")
    .Input("o: To")
    .Input("o_bias: float")
    .Input("post_norm: float")
    .Input("gate_up: Tup")
    .Input("gate_up_bias: float")
    .Input("down: Tdown")
    .Input("down_bias: float")
    .Output("layer: resource")
    .Attr("Tqkv: {float, bfloat16, half}")
    .Attr("To: {float, bfloat16, half}")
    .Attr("Tup: {float, bfloat16, half}")
    .Attr("Tdown: {float, bfloat16, half}")
    .Attr("num_heads: int >= 1")
    .Attr("num_key_value_heads: int >= 1")
    .Attr("head_dim: int >= 2")
    .Attr("window: int >= 0")
    .Attr("epsilon: float")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      return absl::OkStatus();
    });

REGISTER_OP("SdaDecoderLayer")
    .Input("x: float")
    .Input("layer: resource")
    .Input("positions: int32")
    .Input("rows: int32")
    .Input("rotation: float")
    .Input("keys: resource")
    .Input("values: resource")
    .Output("y: float")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
      c->set_output(0, x);
      return absl::OkStatus();
    });

class DecoderLayerWeightsOp : public OpKernel {
 public:
  explicit DecoderLayerWeightsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_heads", &H_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_key_value_heads", &G_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("head_dim", &D_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("window", &window_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES(ctx, H_ % G_ == 0 && D_ % 2 == 0,
                absl::InvalidArgumentError(absl::StrCat(
                    "SdaDecoderLayerWeights: the number of heads (", H_,
                    ") must be a multiple of the number of key-value heads (", G_,
                    ") and their size (", D_, ") even.")));
  }

  void Compute(OpKernelContext* ctx) override {
    tensorflow::core::RefCountPtr<DecoderLayer> layer(new DecoderLayer);
    layer->H = H_;
    layer->G = G_;
    layer->D = D_;
    layer->window = window_;
    layer->epsilon = epsilon_;
    Tensor* const tensors[] = {&layer->input_norm, &layer->qkv,      &layer->qkv_bias,
                               &layer->query_norm, &layer->key_norm, &layer->o,
                               &layer->o_bias,     &layer->post_norm, &layer->gate_up,
                               &layer->gate_up_bias, &layer->down,   &layer->down_bias};
    for (int i = 0; i < 12; i++) *tensors[i] = ctx->input(i);
    OP_REQUIRES_OK(ctx, check(*layer));
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({}), &output));
    output->scalar<tensorflow::ResourceHandle>()() = tensorflow::ResourceHandle::MakeRefCountingHandle(
        layer.release(), ctx->device()->name());
  }

 private:
  absl::Status check(const DecoderLayer& layer) const {
    constexpr const char* kOp = "SdaDecoderLayerWeights";
    const auto vector = [&](const char* name, const Tensor& tensor, int64_t size, bool required) {
      if (!required && tensor.NumElements() == 0) return absl::OkStatus();
      return check_shape(kOp, name, tensor, {size});
    };
    TF_RETURN_IF_ERROR(check_shape(kOp, "input_norm", layer.input_norm, {-1}));
    const int64_t K = layer.hidden();
    TF_RETURN_IF_ERROR(check_shape(kOp, "qkv", layer.qkv, {layer.width(), K}));
    TF_RETURN_IF_ERROR(vector("qkv_bias", layer.qkv_bias, layer.width(), false));
    TF_RETURN_IF_ERROR(vector("query_norm", layer.query_norm, D_, false));
    TF_RETURN_IF_ERROR(vector("key_norm", layer.key_norm, D_, false));
    TF_RETURN_IF_ERROR(check_shape(kOp, "o", layer.o, {K, H_ * D_}));
    TF_RETURN_IF_ERROR(vector("o_bias", layer.o_bias, K, false));
    TF_RETURN_IF_ERROR(vector("post_norm", layer.post_norm, K, true));
    TF_RETURN_IF_ERROR(check_shape(kOp, "down", layer.down, {K, -1}));
    const int64_t I = layer.down.dim_size(1);
    TF_RETURN_IF_ERROR(check_shape(kOp, "gate_up", layer.gate_up, {2 * I, K}));
    TF_RETURN_IF_ERROR(vector("gate_up_bias", layer.gate_up_bias, 2 * I, false));
    return vector("down_bias", layer.down_bias, K, false);
  }

  int64_t H_, G_, D_, window_;
  float epsilon_;
};

class DecoderLayerOp : public OpKernel {
 public:
  explicit DecoderLayerOp(OpKernelConstruction* ctx) : OpKernel(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    tensorflow::core::RefCountPtr<DecoderLayer> layer;
    tensorflow::core::RefCountPtr<Var> key_var, value_var;
    OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, 1), &layer));
    OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, 5), &key_var));
    OP_REQUIRES_OK(ctx, LookupResource(ctx, HandleFromInput(ctx, 6), &value_var));
    tensorflow::mutex_lock key_lock(*key_var->mu());
    tensorflow::mutex_lock value_lock(*value_var->mu());
    Tensor &keys = *key_var->tensor(), &values = *value_var->tensor();
    OP_REQUIRES_OK(ctx, check_cache(*layer, keys, values));
    OP_REQUIRES_OK(ctx, check_inputs(ctx, *layer, keys.shape()));
    OP_REQUIRES_OK(ctx, make_exclusive(ctx, keys));
    OP_REQUIRES_OK(ctx, make_exclusive(ctx, values));

    const Tensor &x = ctx->input(0), &positions = ctx->input(2);
    const int64_t tokens = x.dim_size(0);
    const TokenPlaces places = {positions.flat<int32_t>().data(),
                                ctx->input(3).flat<int32_t>().data(),
                                ctx->input(4).flat<float>().data(),
                                positions.dim_size(1),
                                keys.dim_size(2),
                                keys.flat<float>().data(),
                                values.flat<float>().data()};
    Attention attention;
    Mlp mlp;
    Tensor attended, *y = nullptr;
    OP_REQUIRES_OK(ctx, attention.allocate(ctx, *layer, tokens));
    OP_REQUIRES_OK(ctx, mlp.allocate(ctx, *layer, tokens));
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, x.shape(), &attended));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, x.shape(), &y));
    std::vector<Phase> phases;
    float* between = attended.flat<float>().data();
    attention.add_phases(*layer, places, tokens, x.flat<float>().data(), between, phases);
    mlp.add_phases(*layer, tokens, between, y->flat<float>().data(), phases);
    run_phases(ctx, std::move(phases));
  }

 private:
  static absl::Status check_cache(const DecoderLayer& layer, const Tensor& keys, const Tensor& values) {
    for (const Tensor* cache : {&keys, &values}) {
      TF_RETURN_IF_ERROR(check_shape("SdaDecoderLayer", "cache", *cache, {-1, layer.G, -1, layer.D}));
      if (cache->dtype() != DT_FLOAT)
        return absl::InvalidArgumentError("SdaDecoderLayer: the cache must be float32.");
    }
    if (keys.shape() == values.shape()) return absl::OkStatus();
    return absl::InvalidArgumentError("SdaDecoderLayer: keys and values differ in shape.");
  }

  static absl::Status check_inputs(OpKernelContext* ctx, const DecoderLayer& layer,
                                   const TensorShape& cache) {
    constexpr const char* kOp = "SdaDecoderLayer";
    const Tensor &x = ctx->input(0), &positions = ctx->input(2), &rows = ctx->input(3);
    TF_RETURN_IF_ERROR(check_shape(kOp, "positions", positions, {-1, -1}));
    const int64_t R = positions.dim_size(0), N = positions.NumElements();
    TF_RETURN_IF_ERROR(check_shape(kOp, "x", x, {N, layer.hidden()}));
    TF_RETURN_IF_ERROR(check_shape(kOp, "rows", rows, {R}));
    TF_RETURN_IF_ERROR(check_shape(kOp, "rotation", ctx->input(4), {N, layer.D}));
    const int32_t* position = positions.flat<int32_t>().data();
    for (int64_t i = 0; i < N; i++) {
      if (position[i] < -1 || position[i] >= cache.dim_size(2))
        return absl::InvalidArgumentError(absl::StrCat(
            "decoderLayer: positions must lie in -1..", cache.dim_size(2) - 1,
            " (the cache's capacity), but one is ", position[i], "."));
    }
    const int32_t* row = rows.flat<int32_t>().data();
    std::vector<bool> used(cache.dim_size(0));
    for (int64_t r = 0; r < R; r++) {
      if (row[r] < 0 || row[r] >= cache.dim_size(0) || used[row[r]])
        return absl::InvalidArgumentError(
            absl::StrCat("decoderLayer: rows must be different numbers in 0..",
                         cache.dim_size(0) - 1, ", but one is ", row[r], "."));
      used[row[r]] = true;
    }
    return absl::OkStatus();
  }

  // Gives a variable memory of its own where a reader still holds it.
  static absl::Status make_exclusive(OpKernelContext* ctx, Tensor& tensor) {
    if (tensor.RefCountIsOne()) return absl::OkStatus();
    Tensor copy;
    TF_RETURN_IF_ERROR(ctx->allocate_temp(DT_FLOAT, tensor.shape(), &copy));
    std::memcpy(copy.data(), tensor.data(), tensor.TotalBytes());
    tensor = copy;
    return absl::OkStatus();
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayerWeights").Device(tensorflow::DEVICE_CPU),
                        DecoderLayerWeightsOp);
REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayer").Device(tensorflow::DEVICE_CPU), DecoderLayerOp);
SDA_OPERATION(SdaDecoderLayer);

}  // namespace sda
