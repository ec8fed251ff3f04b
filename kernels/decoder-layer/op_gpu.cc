// SdaDecoderLayers on an NVIDIA GPU: cuda.cu on TensorFlow's stream.

#if defined(SDA_CUDA)

#include <algorithm>
#include <set>

#include "../gpu.h"
#include "../linear/gpu_weights.h"
#include "../upload/cuda.h"
#include "cuda.h"
#include "kernel.h"

namespace sda {

class DecoderLayersGpuOp : public LayersKernel {
 public:
  using LayersKernel::LayersKernel;

 private:
  // Positions, then rows.
  absl::Status send_places(OpKernelContext* ctx, Tensor* places) const override {
    const Tensor &positions = ctx->input(1), &rows = ctx->input(2);
    const int64_t N = positions.NumElements(), R = rows.NumElements();
    TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_INT32, TensorShape({N + R}), places));
    int32_t* to = places->flat<int32_t>().data();
    cuda::upload(positions.flat<int32_t>().data(), N, to, stream_of(ctx));
    cuda::upload(rows.flat<int32_t>().data(), R, to + N, stream_of(ctx));
    return launched("SdaDecoderLayers");
  }

  absl::Status run(OpKernelContext* ctx, const DecoderLayer& layer, const Tensor& places, const Tensor& x,
                   Tensor& keys, Tensor& values, Tensor* y) const override {
    const Tensor& positions = ctx->input(1);
    const int64_t N = x.dim_size(0);
    if (N == 0) return absl::OkStatus();
    if (layer.D > cuda::kMostHeadSize || layer.H / layer.G > cuda::kMostGroup) {
      return absl::UnimplementedError(absl::StrCat(
          "SdaDecoderLayers: a GPU takes heads of at most ", cuda::kMostHeadSize, " values, ", cuda::kMostGroup,
          " to a key-value head, but there are ", layer.D, " and ", layer.H / layer.G, "."));
    }
    Tensor scratch;
    const int32_t* position = positions.flat<int32_t>().data();
    const int32_t* on_device = places.flat<int32_t>().data();
    const auto rows = ctx->input(2).flat<int32_t>();
    const std::set<int32_t> different(rows.data(), rows.data() + rows.size());
    const cuda::Tokens tokens = {on_device,
                                 on_device + N,
                                 ctx->input(3).flat<float>().data(),
                                 N,
                                 positions.dim_size(1),
                                 keys.dim_size(2),
                                 1 + *std::max_element(position, position + N),
                                 keys.data(),
                                 values.data(),
                                 static_cast<int64_t>(different.size()) < rows.size(),
                                 keys.dtype() == tensorflow::DT_BFLOAT16};
    const cuda::Layer weights = {layer.H, layer.G, layer.D, layer.hidden(), layer.intermediate(),
                                 layer.window, layer.epsilon,
                                 values_of(layer.input_norm), values_of(layer.post_norm),
                                 weights_of(layer.qkv, layer.told.of(0)), weights_of(layer.o, layer.told.of(1)),
                                 weights_of(layer.gate_up, layer.told.of(2)), weights_of(layer.down, layer.told.of(3)),
                                 values_of(layer.qkv_bias), values_of(layer.o_bias),
                                 values_of(layer.query_norm), values_of(layer.key_norm),
                                 values_of(layer.gate_up_bias), values_of(layer.down_bias),
                                 values_of(layer.attention_output_norm), values_of(layer.mlp_output_norm),
                                 layer.norms_all_heads(), layer.rotates};
    for (const cuda::Weights& each : {weights.qkv, weights.o, weights.gate_up, weights.down})
      TF_RETURN_IF_ERROR(check_taken("SdaDecoderLayers", each));
    TF_RETURN_IF_ERROR(allocate_bytes(ctx, cuda::layer_scratch_bytes(weights, tokens), &scratch));
    cuda::decoder_layer(weights, tokens, x.flat<float>().data(), y->flat<float>().data(), scratch.data(),
                        stream_of(ctx));
    return launched("SdaDecoderLayers");
  }

  absl::Status copy(OpKernelContext* ctx, const Tensor& from, Tensor* to) const override {
    cudaMemcpyAsync(to->data(), from.data(), from.TotalBytes(), cudaMemcpyDeviceToDevice, stream_of(ctx));
    return launched("SdaDecoderLayers");
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayerWeights")
                            .Device(tensorflow::DEVICE_GPU)
                            .TypeConstraint("Tqkv", kGpuWeightTypes)
                            .TypeConstraint("To", kGpuWeightTypes)
                            .TypeConstraint("Tup", kGpuWeightTypes)
                            .TypeConstraint("Tdown", kGpuWeightTypes)
                            .HostMemory("layer"),
                        DecoderLayerWeightsOp);
REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayers")
                            .Device(tensorflow::DEVICE_GPU)
                            .HostMemory("layers")
                            .HostMemory("positions")
                            .HostMemory("rows")
                            .HostMemory("keys")
                            .HostMemory("values"),
                        DecoderLayersGpuOp);
SDA_GPU_OPERATION(SdaDecoderLayers);

}  // namespace sda

#endif
