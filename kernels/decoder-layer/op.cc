// SdaDecoderLayers: L layers of a Llama- or Qwen-like decoder, for new tokens over a key-value cache of each.
//
//   y = mlp(attention(x)), each with its RMSNorms and residual: attention.h, mlp.h; y is the x of the next layer
//
//   x [R T, K], rotation [P, D] float32, a line a position; positions [R, T], rows [R] int32, of which one may stand several
//   times: all keys and values are written before any token attends;
//   layers: handles made by SdaDecoderLayerWeights, matrices float32, bfloat16, float16 or quantised (../linear/matrix.h);
//   keys, values: resource variables float32 or bfloat16 [cache rows, G, capacity, D], written in place; y [R T, K]
//
// Fused: a layer, as eight phases that all threads go through together. One pass over the weights, and one over the
// cached keys and values per token and key-value head. Bytes of a decoding call: the weights and
// 8 R G D (position + 1) of the cache, half of that in bfloat16. Padding (position -1) writes nothing; its lines hold no meaning.
//
// SdaDecoderLayerWeights: checks a layer's tensors against each other and makes the handle, which keeps them alive.

#include "../op.h"
#include "attention.h"
#include "kernel.h"
#include "mlp.h"

namespace sda {

// An absent vector (a bias, a norm) is empty.
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
    .Input("attention_output_norm: float")
    .Input("mlp_output_norm: float")
    .Output("layer: resource")
    .Attr("Tqkv: {float, bfloat16, half, int32}")
    .Attr("To: {float, bfloat16, half, int32}")
    .Attr("Tup: {float, bfloat16, half, int32}")
    .Attr("Tdown: {float, bfloat16, half, int32}")
    .Attr("num_heads: int >= 1")
    .Attr("num_key_value_heads: int >= 1")
    .Attr("head_dim: int >= 2")
    .Attr("window: int >= 0")
    .Attr("rotates: bool")
    .Attr("epsilon: float")
    .Attr(SDA_TOLD_SHAPES)
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      return absl::OkStatus();
    });

REGISTER_OP("SdaDecoderLayers")
    .Input("x: float")
    .Input("positions: int32")
    .Input("rows: int32")
    .Input("rotation: float")
    .Input("layers: L * resource")
    .Input("keys: L * resource")
    .Input("values: L * resource")
    .Output("y: float")
    .Attr("L: int >= 1")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
      c->set_output(0, x);
      return absl::OkStatus();
    });

class DecoderLayersOp : public LayersKernel {
 public:
  using LayersKernel::LayersKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const DecoderLayer& layer, const Tensor&, const Tensor& x, Tensor& keys,
                   Tensor& values, Tensor* y) const override {
    const Tensor& positions = ctx->input(1);
    const int64_t tokens = x.dim_size(0);
    const TokenPlaces places = {positions.flat<int32_t>().data(),
                                ctx->input(2).flat<int32_t>().data(),
                                ctx->input(3).flat<float>().data(),
                                positions.dim_size(1),
                                keys.dim_size(2),
                                keys.dtype() == tensorflow::DT_BFLOAT16,
                                keys.data(),
                                values.data()};
    Attention attention;
    Mlp mlp;
    Tensor attended;
    TF_RETURN_IF_ERROR(attention.allocate(ctx, layer, tokens));
    TF_RETURN_IF_ERROR(mlp.allocate(ctx, layer, tokens));
    TF_RETURN_IF_ERROR(ctx->allocate_temp(DT_FLOAT, x.shape(), &attended));
    std::vector<Phase> phases;
    float* between = attended.flat<float>().data();
    attention.add_phases(layer, places, tokens, x.flat<float>().data(), between, phases);
    mlp.add_phases(layer, tokens, between, y->flat<float>().data(), phases);
    run_phases(ctx, std::move(phases));
    return absl::OkStatus();
  }

  absl::Status copy(OpKernelContext*, const Tensor& from, Tensor* to) const override {
    std::memcpy(to->data(), from.data(), from.TotalBytes());
    return absl::OkStatus();
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayerWeights").Device(tensorflow::DEVICE_CPU),
                        DecoderLayerWeightsOp);
REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayers").Device(tensorflow::DEVICE_CPU), DecoderLayersOp);
SDA_OPERATION(SdaDecoderLayers);

}  // namespace sda
