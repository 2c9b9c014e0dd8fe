// stadx::dense_layer: one convolution of a patch network over all phases of an image, to a map.

#include "ops/dense_layer.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

// Kernels stream whole cache lines.
bool is_aligned(const float* p) { return reinterpret_cast<uintptr_t>(p) % 64 == 0; }

void dense_layer_cpu(const Tensor input, const Tensor weights, const Tensor bias, int64_t kernel,
                     int64_t tile, int64_t pool_shifts, int64_t step, const Sizes offset, const Sizes size,
                     double slope, const Sizes image, Tensor output) {
  const DenseLayer layer =
      describe_layer(input, weights, bias, kernel, tile, pool_shifts, step, offset, size, slope);
  const int64_t phases = layer.out_phases, channels = layer.out_channels;
  DenseOutput out{};
  Sizes shape{phases, phases, size[0], size[1], channels};
  if (image.empty()) {
    const int64_t row = size[1] * channels, map = size[0] * row;
    out = {nullptr, phases * map, map, row, channels, 0, 1, size[0], size[1]};
  } else {
    out = through_phases(layer, image, channels, nullptr);
    shape = {image[0], image[1], channels};
  }
  check_floats(output, static_cast<int64_t>(shape.size()), "dense_layer: out");
  for (size_t i = 0; i < shape.size(); ++i) {
    STD_TORCH_CHECK(output.size(static_cast<int64_t>(i)) == shape[i], "dense_layer: out has size ",
                    output.size(static_cast<int64_t>(i)), " in dimension ", i, ", expected ", shape[i]);
  }
  out.data = output.mutable_data_ptr<float>();
  STD_TORCH_CHECK(is_aligned(out.data), "dense_layer: out must begin at a multiple of 64 bytes");
  const KernelTable& table = kernels();
  const int n = static_cast<int>(tile);
  if (tile == 0) {
    for_each_item(table.direct_rows(layer), 0,
                  [&](int64_t i, float*) { table.direct_to_map(layer, out, i); });
  } else {
    for_each_item(table.winograd_blocks(layer, n), table.winograd_scratch(layer, n, 0),
                  [&](int64_t i, float* scratch) { table.winograd_to_map(layer, n, out, i, scratch); });
  }
}

}  // namespace

STADX_CPU_OPERATOR(dense_layer,
                   "(Tensor input, Tensor weights, Tensor bias, int kernel, int tile, int pool_shifts, "
                   "int step, int[] offset, int[] size, float slope, int[] image, Tensor(a!) out) -> ()")

}  // namespace stadx
