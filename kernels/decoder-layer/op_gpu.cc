// SdaDecoderLayer on an NVIDIA GPU: cuda.cu on TensorFlow's stream. Compiled only; it has not run.

#if defined(SDA_CUDA)

#include <algorithm>

#include "../gpu.h"
#include "../linear/gpu_weights.h"
#include "cuda.h"
#include "kernel.h"

namespace sda {

class DecoderLayerGpuOp : public LayerKernel {
 public:
  using LayerKernel::LayerKernel;

 private:
  absl::Status run(OpKernelContext* ctx, const DecoderLayer& layer, Tensor& keys, Tensor& values,
                   Tensor* y) const override {
    const Tensor &x = ctx->input(0), &positions = ctx->input(2), &rows = ctx->input(3);
    const int64_t N = x.dim_size(0);
    if (N == 0) return absl::OkStatus();
    if (layer.D > cuda::kMostHeadSize || layer.H / layer.G > cuda::kMostGroup) {
      return absl::UnimplementedError(absl::StrCat(
          "SdaDecoderLayer: a GPU takes heads of at most ", cuda::kMostHeadSize, " values, ", cuda::kMostGroup,
          " to a key-value head, but there are ", layer.D, " and ", layer.H / layer.G, "."));
    }
    Tensor position_at, row_at, scratch;
    TF_RETURN_IF_ERROR(to_device(ctx, positions, &position_at));
    TF_RETURN_IF_ERROR(to_device(ctx, rows, &row_at));
    const int32_t* position = positions.flat<int32_t>().data();
    const cuda::Tokens tokens = {position_at.flat<int32_t>().data(),
                                 row_at.flat<int32_t>().data(),
                                 ctx->input(4).flat<float>().data(),
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
    return launched("SdaDecoderLayer");
  }

  absl::Status copy(OpKernelContext* ctx, const Tensor& from, Tensor* to) const override {
    cudaMemcpyAsync(to->data(), from.data(), from.TotalBytes(), cudaMemcpyDeviceToDevice, stream_of(ctx));
    return launched("SdaDecoderLayer");
  }

  // The host's memory is pageable: it is copied aside before the call returns, and may change after.
  static absl::Status to_device(OpKernelContext* ctx, const Tensor& host, Tensor* device) {
    TF_RETURN_IF_ERROR(ctx->allocate_temp(host.dtype(), host.shape(), device));
    cudaMemcpyAsync(device->data(), host.data(), host.TotalBytes(), cudaMemcpyHostToDevice, stream_of(ctx));
    return launched("SdaDecoderLayer");
  }
};

REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayerWeights").Device(tensorflow::DEVICE_GPU).HostMemory("layer"),
                        DecoderLayerWeightsOp);
REGISTER_KERNEL_BUILDER(Name("SdaDecoderLayer")
                            .Device(tensorflow::DEVICE_GPU)
                            .HostMemory("layer")
                            .HostMemory("positions")
                            .HostMemory("rows")
                            .HostMemory("keys")
                            .HostMemory("values"),
                        DecoderLayerGpuOp);
SDA_GPU_OPERATION(SdaDecoderLayer);

}  // namespace sda

#endif
