// What SdaDecoderLayerWeights and SdaDecoderLayers are on every device: attributes, checks and resources. See op.cc, and
// op_gpu.cc for the GPU.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "../exclusive.h"
#include "../linear/matrix.h"
#include "../op.h"
#include "layer.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace sda {

using tensorflow::DT_RESOURCE;
using tensorflow::Var;

class DecoderLayerWeightsOp : public OpKernel {
 public:
  explicit DecoderLayerWeightsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_heads", &H_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_key_value_heads", &G_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("head_dim", &D_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("window", &window_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("rotates", &rotates_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES_OK(ctx, told_.read(ctx, 4));
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
    layer->rotates = rotates_;
    layer->epsilon = epsilon_;
    layer->told = told_;
    Tensor* const tensors[] = {&layer->input_norm, &layer->qkv,      &layer->qkv_bias,
                               &layer->query_norm, &layer->key_norm, &layer->o,
                               &layer->o_bias,     &layer->post_norm, &layer->gate_up,
                               &layer->gate_up_bias, &layer->down,   &layer->down_bias,
                               &layer->attention_output_norm, &layer->mlp_output_norm};
    for (int i = 0; i < 14; i++) *tensors[i] = ctx->input(i);
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
    TF_RETURN_IF_ERROR(check_matrix(kOp, "o", layer.o, -1, H_ * D_, 1, told_.of(1)));
    const int64_t K = layer.hidden();
    const bool all_heads = layer.norms_all_heads();
    TF_RETURN_IF_ERROR(vector("input_norm", layer.input_norm, K, false));
    TF_RETURN_IF_ERROR(check_matrix(kOp, "qkv", layer.qkv, layer.width(), K, 1, told_.of(0)));
    TF_RETURN_IF_ERROR(vector("qkv_bias", layer.qkv_bias, layer.width(), false));
    TF_RETURN_IF_ERROR(vector("query_norm", layer.query_norm, all_heads ? H_ * D_ : D_, false));
    TF_RETURN_IF_ERROR(vector("key_norm", layer.key_norm, all_heads ? G_ * D_ : D_, all_heads));
    TF_RETURN_IF_ERROR(vector("o_bias", layer.o_bias, K, false));
    TF_RETURN_IF_ERROR(vector("attention_output_norm", layer.attention_output_norm, K, false));
    TF_RETURN_IF_ERROR(vector("post_norm", layer.post_norm, K, false));
    TF_RETURN_IF_ERROR(check_matrix(kOp, "down", layer.down, K, -1, 1, told_.of(3)));
    const int64_t I = layer.intermediate();
    TF_RETURN_IF_ERROR(check_matrix(kOp, "gate_up", layer.gate_up, 2 * I, K, 2, told_.of(2)));
    TF_RETURN_IF_ERROR(vector("gate_up_bias", layer.gate_up_bias, 2 * I, false));
    TF_RETURN_IF_ERROR(vector("down_bias", layer.down_bias, K, false));
    return vector("mlp_output_norm", layer.mlp_output_norm, K, false);
  }

  int64_t H_, G_, D_, window_;
  bool rotates_;
  float epsilon_;
  ToldShapes told_;
};

class LayersKernel : public OpKernel {
 public:
  explicit LayersKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("L", &L_));
  }

  void Compute(OpKernelContext* ctx) override {
    std::vector<Bound> layers(L_);
    for (int i = 0; i < L_; i++) OP_REQUIRES_OK(ctx, bind(ctx, i, layers[i]));
    OP_REQUIRES_OK(ctx, check_places(ctx->input(1), ctx->input(2)));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, ctx->input(0).shape(), &y));
    Tensor from = ctx->input(0), places;
    OP_REQUIRES_OK(ctx, send_places(ctx, &places));
    for (int i = 0; i < L_; i++) {
      Tensor to = *y;
      if (i + 1 < L_) OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, from.shape(), &to));
      OP_REQUIRES_OK(ctx, run_one(ctx, layers[i], places, from, &to));
      from = to;
    }
  }

 protected:
  // Once a call: positions and rows, inputs 1 and 2, which are the host's, in the device's memory.
  virtual absl::Status send_places(OpKernelContext*, Tensor*) const { return absl::OkStatus(); }
  // x, input 3 (rotation), the cache and y are the device's.
  virtual absl::Status run(OpKernelContext* ctx, const DecoderLayer& layer, const Tensor& places, const Tensor& x,
                           Tensor& keys, Tensor& values, Tensor* y) const = 0;
  virtual absl::Status copy(OpKernelContext* ctx, const Tensor& from, Tensor* to) const = 0;

 private:
  struct Bound {
    tensorflow::core::RefCountPtr<DecoderLayer> layer;
    tensorflow::core::RefCountPtr<Var> keys, values;
  };

  // Finds layer `index` and its cache, and checks them against the other inputs.
  absl::Status bind(OpKernelContext* ctx, int index, Bound& bound) const {
    constexpr int kFirst = 4;  // after x, positions, rows and rotation: layers, keys, values
    TF_RETURN_IF_ERROR(LookupResource(ctx, HandleFromInput(ctx, kFirst + index), &bound.layer));
    TF_RETURN_IF_ERROR(LookupResource(ctx, HandleFromInput(ctx, kFirst + L_ + index), &bound.keys));
    TF_RETURN_IF_ERROR(LookupResource(ctx, HandleFromInput(ctx, kFirst + 2 * L_ + index), &bound.values));
    tensorflow::mutex_lock key_lock(*bound.keys->mu());
    tensorflow::mutex_lock value_lock(*bound.values->mu());
    const Tensor& keys = *bound.keys->tensor();
    TF_RETURN_IF_ERROR(check_cache(*bound.layer, keys, *bound.values->tensor()));
    return check_inputs(ctx, *bound.layer, keys.shape());
  }

  absl::Status run_one(OpKernelContext* ctx, const Bound& bound, const Tensor& places, const Tensor& x,
                       Tensor* y) const {
    tensorflow::mutex_lock key_lock(*bound.keys->mu());
    tensorflow::mutex_lock value_lock(*bound.values->mu());
    Tensor &keys = *bound.keys->tensor(), &values = *bound.values->tensor();
    const auto copies = [this](OpKernelContext* c, const Tensor& from, Tensor* to) { return copy(c, from, to); };
    TF_RETURN_IF_ERROR(make_exclusive(ctx, keys, copies));
    TF_RETURN_IF_ERROR(make_exclusive(ctx, values, copies));
    return run(ctx, *bound.layer, places, x, keys, values, y);
  }

  static absl::Status check_cache(const DecoderLayer& layer, const Tensor& keys, const Tensor& values) {
    for (const Tensor* cache : {&keys, &values}) {
      TF_RETURN_IF_ERROR(check_shape("SdaDecoderLayers", "cache", *cache, {-1, layer.G, -1, layer.D}));
      if (cache->dtype() != DT_FLOAT && cache->dtype() != tensorflow::DT_BFLOAT16)
        return absl::InvalidArgumentError("SdaDecoderLayers: the cache must be float32 or bfloat16.");
    }
    if (keys.shape() == values.shape() && keys.dtype() == values.dtype()) return absl::OkStatus();
    return absl::InvalidArgumentError("SdaDecoderLayers: keys and values differ in shape or type.");
  }

  static absl::Status check_inputs(OpKernelContext* ctx, const DecoderLayer& layer,
                                   const TensorShape& cache) {
    constexpr const char* kOp = "SdaDecoderLayers";
    const Tensor &x = ctx->input(0), &positions = ctx->input(1), &rows = ctx->input(2);
    TF_RETURN_IF_ERROR(check_shape(kOp, "positions", positions, {-1, -1}));
    const int64_t R = positions.dim_size(0), N = positions.NumElements();
    TF_RETURN_IF_ERROR(check_shape(kOp, "x", x, {N, layer.hidden()}));
    TF_RETURN_IF_ERROR(check_shape(kOp, "rows", rows, {R}));
    TF_RETURN_IF_ERROR(check_shape(kOp, "rotation", ctx->input(3), {-1, layer.D}));
    const int64_t angles = ctx->input(3).dim_size(0);
    const int32_t* position = positions.flat<int32_t>().data();
    for (int64_t i = 0; i < N; i++) {
      if (position[i] < -1 || position[i] >= cache.dim_size(2))
        return absl::InvalidArgumentError(absl::StrCat(
            "decoderLayers: positions must lie in -1..", cache.dim_size(2) - 1,
            " (the cache's capacity), but one is ", position[i], "."));
      if (position[i] >= angles)
        return absl::InvalidArgumentError(absl::StrCat("decoderLayers: rotation has ", angles,
                                                       " lines, but a token stands at ", position[i], "."));
    }
    const int32_t* row = rows.flat<int32_t>().data();
    for (int64_t r = 0; r < R; r++) {
      if (row[r] < 0 || row[r] >= cache.dim_size(0))
        return absl::InvalidArgumentError(absl::StrCat("decoderLayers: rows must lie in 0..", cache.dim_size(0) - 1,
                                                       ", but one is ", row[r], "."));
    }
    return absl::OkStatus();
  }

  // Positions and rows that check_inputs has let pass; the same for every layer.
  static absl::Status check_places(const Tensor& positions, const Tensor& rows) {
    const int64_t T = positions.dim_size(1), N = positions.NumElements();
    const int32_t *position = positions.flat<int32_t>().data(), *row = rows.flat<int32_t>().data();
    std::vector<std::pair<int32_t, int32_t>> taken;
    for (int64_t i = 0; i < N; i++)
      if (position[i] >= 0) taken.push_back({row[i / T], position[i]});
    std::sort(taken.begin(), taken.end());
    const auto twice = std::adjacent_find(taken.begin(), taken.end());
    if (twice == taken.end()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("decoderLayers: each token must stand at a place of its own, but two stand at position ",
                     twice->second, " of row ", twice->first, "."));
  }

  int L_;
};

}  // namespace sda
