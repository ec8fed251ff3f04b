// SdaDecoderLayers on an NVIDIA GPU: cuda.cu on TensorFlow's stream. Compiled only; it has not run.

#if defined(SDA_CUDA)

#include <algorithm>
#include <vector>

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
  absl::Status run(OpKernelContext* ctx, const DecoderLayer& layer, const Tensor& x, Tensor& keys, Tensor& values,
                   Tensor* y) const override {
    const Tensor &positions = ctx->input(1), &rows = ctx->input(2);
    const int64_t N = x.dim_size(0);
    if (N == 0) return absl::OkStatus();
    if (layer.D > cuda::kMostHeadSize || layer.H / layer.G > cuda::kMostGroup) {
      return absl::UnimplementedError(absl::StrCat(
          "SdaDecoderLayers: a GPU takes heads of at most ", cuda::kMostHeadSize, " values, ", cuda::kMostGroup,
          " to a key-value head, but there are ", layer.D, " and ", layer.H / layer.G, "."));
    }
    Tensor places, scratch;
    TF_RETURN_IF_ERROR(to_device(ctx, positions, rows, &places));
    const int32_t* position = positions.flat<int32_t>().data();
    const int32_t* on_device = places.flat<int32_t>().data();
    const cuda::Tokens tokens = {on_device,
                                 on_device + N,
                                 ctx->input(3).flat<float>().data(),
                                 N,
                                 positions.dim_size(1),
                                 keys.dim_size(2),
                                 1 + *std::max_element(position, position + N),
                                 keys.flat<float>().data(),
                                 values.flat<float>().data()};
    const cuda::Layer weights = {layer.H, layer.G, layer.D, layer.hidden(), layer.down.dim_size(1),
                                 layer.window, layer.epsilon,
                                 values_of(layer.input_norm), values_of(layer.post_norm),
                                 weights_of(layer.qkv), weights_of(layer.o),
                                 weights_of(layer.gate_up), weights_of(layer.down),
                                 values_of(layer.qkv_bias), values_of(layer.o_bias),
                                 values_of(layer.query_norm), values_of(layer.key_norm),
                                 values_of(layer.gate_up_bias), values_of(layer.down_bias)};
    TF_RETURN_IF_ERROR(allocate_bytes(ctx, cuda::layer_scratch_bytes(weights, tokens), &scratch));
    cuda::decoder_layer(weights, tokens, x.flat<float>().data(), y->flat<float>().data(), scratch.data(),
                        stream_of(ctx));
    return launched("SdaDecoderLayers");
  }

  absl::Status copy(OpKernelContext* ctx, const Tensor& from, Tensor* to) const override {
    cudaMemcpyAsync(to->data(), from.data(), from.TotalBytes(), cudaMemcpyDeviceToDevice, stream_of(ctx));
    return launched("SdaDecoderLayers");
  }

  // Positions, then rows. The layers of a step share this object and are given the same: they travel once.
  absl::Status to_device(OpKernelContext* ctx, const Tensor& positions, const Tensor& rows, Tensor* places) const {
    const int32_t* position = positions.flat<int32_t>().data();
    const int32_t* row = rows.flat<int32_t>().data();
    std::vector<int32_t> wanted(position, position + positions.NumElements());
    wanted.insert(wanted.end(), row, row + rows.NumElements());
    tensorflow::mutex_lock lock(mutex_);
    if (wanted != sent_) {
      const auto count = static_cast<int64_t>(wanted.size());
      TF_RETURN_IF_ERROR(ctx->allocate_temp(tensorflow::DT_INT32, TensorShape({count}), &places_));
      cuda::upload(wanted.data(), count, places_.flat<int32_t>().data(), stream_of(ctx));
      sent_ = std::move(wanted);
    }
    *places = places_;
    return absl::OkStatus();
  }

  mutable tensorflow::mutex mutex_;
  mutable std::vector<int32_t> sent_;
  mutable Tensor places_;
};

REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayerWeights").Device(tensorflow::DEVICE_GPU).HostMemory("layer"),
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
