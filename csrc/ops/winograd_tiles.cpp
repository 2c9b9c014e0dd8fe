// stadx::winograd_tiles and stadx::winograd_map: between maps and Winograd's tiles, for training.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>

#include "cpu/kernels.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check(const Tensor& t, int64_t dims, const char* name) {
  STD_TORCH_CHECK(t.dim() == dims && t.scalar_type() == ScalarType::Float && t.is_contiguous(),
                  "winograd_tiles: ", name, " must be a contiguous float32 tensor of ", dims, " dimensions");
}

// Checks all that a kernel relies on; map and tiles are filled in by the caller. `output`: the map is that of
// a convolution's results, else of what it reads.
WinogradTiles describe(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t tile,
                       int64_t kernel, bool output) {
  STD_TORCH_CHECK((tile == 8 || tile == 10) && (kernel == 2 || kernel == 4 || kernel == 5),
                  "winograd_tiles: tile must be 8 or 10, kernel 2, 4 or 5");
  STD_TORCH_CHECK(channels >= 16 && channels % 16 == 0,
                  "winograd_tiles: channels must be a multiple of 16, not ", channels);
  const int64_t apart = tile - kernel + 1, reach = output ? 0 : kernel - 1;
  STD_TORCH_CHECK(images >= 1 && height > reach && width > reach, "winograd_tiles: the map is too small");
  WinogradTiles a{};
  a.images = images;
  a.height = height;
  a.width = width;
  a.channels = channels;
  a.rows = (height - reach + apart - 1) / apart;
  a.columns = (width - reach + apart - 1) / apart;
  a.tile = static_cast<int>(tile);
  a.kernel = static_cast<int>(kernel);
  return a;
}

template <typename Kernel>
void for_each(int64_t items, Kernel kernel, const WinogradTiles& a) {
  torch::stable::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) kernel(a, i);
  });
}

// [N, H, W, C] to [tile², tiles, C].
Tensor winograd_tiles_cpu(const Tensor map, int64_t tile, int64_t kernel, bool output) {
  check(map, 4, "map");
  WinogradTiles a = describe(map.size(0), map.size(1), map.size(2), map.size(3), tile, kernel, output);
  Tensor tiles = torch::stable::new_empty(map, {tile * tile, a.images * a.rows * a.columns, a.channels});
  a.map = const_cast<float*>(map.const_data_ptr<float>());  // only read here
  a.tiles = tiles.mutable_data_ptr<float>();
  const KernelTable& table = kernels();
  for_each(a.images * a.rows, output ? table.winograd_outputs_transposed : table.winograd_inputs, a);
  return tiles;
}

// And back; the bias is for outputs.
Tensor winograd_map_cpu(const Tensor tiles, const std::optional<Tensor> bias, int64_t images, int64_t height,
                        int64_t width, int64_t tile, int64_t kernel, bool output) {
  check(tiles, 3, "tiles");
  WinogradTiles a = describe(images, height, width, tiles.size(2), tile, kernel, output);
  STD_TORCH_CHECK(tiles.size(0) == tile * tile && tiles.size(1) == images * a.rows * a.columns,
                  "winograd_tiles: tiles must be [", tile * tile, ", ", images * a.rows * a.columns,
                  ", C] for this map");
  STD_TORCH_CHECK(bias.has_value() == output, "winograd_tiles: a bias belongs to outputs, and only to them");
  if (output) {
    check(*bias, 1, "bias");
    STD_TORCH_CHECK(bias->size(0) == a.channels, "winograd_tiles: bias must be [C]");
    a.bias = bias->const_data_ptr<float>();
  }
  Tensor map = torch::stable::new_empty(tiles, {images, height, width, a.channels});
  a.map = map.mutable_data_ptr<float>();
  a.tiles = const_cast<float*>(tiles.const_data_ptr<float>());  // only read here
  const KernelTable& table = kernels();
  if (output) {
    for_each(images * a.rows, table.winograd_outputs, a);
  } else {
    for_each(images * (a.channels / 16), table.winograd_inputs_transposed, a);
  }
  return map;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("winograd_tiles(Tensor map, int tile, int kernel, bool output) -> Tensor");
  m.def(
      "winograd_map(Tensor tiles, Tensor? bias, int images, int height, int width, int tile, int kernel, "
      "bool output) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(stadx, CPU, m) {
  m.impl("winograd_tiles", TORCH_BOX(&winograd_tiles_cpu));
  m.impl("winograd_map", TORCH_BOX(&winograd_map_cpu));
}

}  // namespace stadx
