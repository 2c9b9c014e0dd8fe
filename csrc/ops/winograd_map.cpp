// stadx::winograd_map: from Winograd's tiles back to maps, for training.

#include <optional>

#include "ops/operator.h"
#include "ops/winograd_tiles.h"

namespace stadx {
namespace {

using torch::stable::Tensor;

// [tile², tiles, C] to [N, H, W, C]; the bias is for outputs.
Tensor winograd_map_cpu(const Tensor tiles, const std::optional<Tensor> bias, int64_t images, int64_t height,
                        int64_t width, int64_t tile, int64_t kernel, bool output) {
  check_matrices(tiles, "winograd_tiles: tiles");
  WinogradTiles a = describe_tiles(images, height, width, tiles.size(2), tile, kernel, output);
  STD_TORCH_CHECK(tiles.size(0) == tile * tile && tiles.size(1) == images * a.rows * a.columns,
                  "winograd_tiles: tiles must be [", tile * tile, ", ", images * a.rows * a.columns,
                  ", C] for this map");
  STD_TORCH_CHECK(bias.has_value() == output, "winograd_tiles: a bias belongs to outputs, and only to them");
  if (output) {
    check_floats(*bias, 1, "winograd_tiles: bias");
    STD_TORCH_CHECK(bias->size(0) == a.channels, "winograd_tiles: bias must be [C]");
    a.bias = bias->const_data_ptr<float>();
  }
  a.point = tiles.stride(0);
  Tensor map = torch::stable::new_empty(tiles, {images, height, width, a.channels});
  a.map = map.mutable_data_ptr<float>();
  a.tiles = const_cast<float*>(tiles.const_data_ptr<float>());  // only read here
  const KernelTable& table = kernels();
  if (output) {
    run_kernel(images * a.rows, table.winograd_outputs, a);
  } else {
    run_kernel(images * (a.channels / 16), table.winograd_inputs_transposed, a);
  }
  return map;
}

}  // namespace

STADX_CPU_OPERATOR(winograd_map,
                   "(Tensor tiles, Tensor? bias, int images, int height, int width, int tile, int kernel, "
                   "bool output) -> Tensor")

}  // namespace stadx
