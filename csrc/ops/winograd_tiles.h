// What winograd_tiles and winograd_map share: the checks, and the loop over rows of tiles.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "cpu/kernels.h"
#include "ops/matrices.h"

namespace stadx {

// Checks all that a kernel relies on; map and tiles are filled in by the caller. `output`: the map is that of
// a convolution's results, else of what it reads.
inline WinogradTiles describe_tiles(int64_t images, int64_t height, int64_t width, int64_t channels,
                                    int64_t tile, int64_t kernel, bool output) {
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

// Runs a kernel of the table on items [0, items), a share for each thread.
template <typename Kernel>
void run_kernel(int64_t items, Kernel kernel, const WinogradTiles& a) {
  torch::stable::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) kernel(a, i);
  });
}

}  // namespace stadx
