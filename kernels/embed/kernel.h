// What SdaEmbed is on every device: its checks. See op.cc, and op_gpu.cc for the GPU.
#pragma once

#include "../linear/matrix.h"
#include "../op.h"

namespace sda {

class EmbedKernel : public OpKernel {
 public:
  explicit EmbedKernel(OpKernelConstruction* ctx) : OpKernel(ctx) { OP_REQUIRES_OK(ctx, told_.read(ctx, 1)); }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &table = ctx->input(0), &ids = ctx->input(1), &drawn = ctx->input(2);
    OP_REQUIRES_OK(ctx, check_matrix("SdaEmbed", "table", table, -1, -1, 1, told_.of(0)));
    OP_REQUIRES_OK(ctx, check_shape("SdaEmbed", "ids", ids, {-1}));
    OP_REQUIRES_OK(ctx, check_shape("SdaEmbed", "drawn", drawn, {-1, -1}));
    const int64_t V = rows_of(table, told_.of(0)), K = columns_of(table, told_.of(0));
    const int64_t N = ids.dim_size(0), L = drawn.dim_size(0);
    const int32_t* id = ids.flat<int32_t>().data();
    for (int64_t n = 0; n < N; n++) {
      OP_REQUIRES(ctx, id[n] < 0 ? ~id[n] < L && drawn.dim_size(1) > 0 : id[n] < V,
                  absl::InvalidArgumentError(absl::StrCat("embed: ids must lie in 0..", V - 1, ", or be ~line of ", L,
                                                          " drawn ones, but one is ", id[n], ".")));
    }
    Tensor* x = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({N, K}), &x));
    const Embed call = {table, id, drawn.flat<float>().data(), drawn.dim_size(1), N, x->flat<float>().data()};
    OP_REQUIRES_OK(ctx, run(ctx, call));
  }

 protected:
  // The table, drawn [L, W] and x [N, K] are the device's, ids [N] the host's.
  struct Embed {
    const Tensor& table;
    const int32_t* ids;
    const float* drawn;
    int64_t W, N;
    float* x;
  };
  virtual absl::Status run(OpKernelContext* ctx, const Embed& call) const = 0;

  ToldShapes told_;
};

}  // namespace sda
