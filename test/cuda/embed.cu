// Checks of kernels/embed/cuda.cu: lines of the table, to the bit.

#include "../../kernels/embed/cuda.h"

#include "linear.h"

namespace check {

void embed() {
  using sda::cuda::WeightType;
  for (const Stored& type : std::vector<Stored>{WeightType::kFloat32, WeightType::kBfloat16, WeightType::kFloat16, Quantised{8},
                                                Quantised{4}, Quantised{4, sda::kFloat16Scale, sda::kWholeZeros, true},
                                                Quantised{8, sda::kFloat32Scale, sda::kHalfRange}}) {
    const int64_t V = 19, K = 301, W = 8;
    const std::string name = "embed, " + type.name();
    HostWeights table(V, K, type);
    // an id, lines 1 and 0 of the draws, then a token beyond the table and one that is no number: 0
    const std::vector<int32_t> ids = {4, ~1, 0, ~0, ~2, ~3};
    const std::vector<int64_t> expected = {4, 2, 0, 17, 0, 0};
    std::vector<float> drawn(4 * W, 5.0f);
    drawn[0] = 17, drawn[W] = 2, drawn[2 * W] = V, drawn[3 * W] = NAN;
    Buffer<int32_t> ids_at(ids);
    Buffer<float> drawn_at(drawn), x(ids.size() * K);
    sda::cuda::embed(table.on_device(), ids_at.data(), drawn_at.data(), W, ids.size(), x.data(), nullptr);
    std::vector<float> want;  // rounded once where scales are float32
    for (int64_t token : expected)
      want.insert(want.end(), table.values.begin() + token * K, table.values.begin() + (token + 1) * K);
    expect(x.read(name) == want, name, "");
  }
}

}  // namespace check
