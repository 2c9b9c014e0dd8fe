// stadx::winograd_tiles: from maps to Winograd's tiles, for training.
#include "ops/winograd_tiles.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::stable::Tensor;

// [N, H, W, C] to [tile², tiles, C].
Tensor winograd_tiles_cpu(const Tensor map, int64_t tile, int64_t kernel, bool output) {
  check_floats(map, 4, "winograd_tiles: map");
  WinogradTiles a = describe_tiles(map.size(0), map.size(1), map.size(2), map.size(3), tile, kernel, output);
  Tensor tiles = new_matrices(map, tile * tile, a.images * a.rows * a.columns, a.channels);
  a.point = tiles.stride(0);
  a.map = const_cast<float*>(map.const_data_ptr<float>());  // only read here
  a.tiles = tiles.mutable_data_ptr<float>();
  const KernelTable& table = kernels();
  run_kernel(a.images * a.rows, output ? table.winograd_outputs_transposed : table.winograd_inputs, a);
  return tiles;
}

}  // namespace

STADX_CPU_OPERATOR(winograd_tiles, "(Tensor map, int tile, int kernel, bool output) -> Tensor")

}  // namespace stadx
