// Starts the kernels of label_regions and defect_pixels, one after the other.
#include "cuda/label_regions.cuh"

#include <algorithm>

#include "cuda/launch.cuh"
#include "cuda/launchers.h"

namespace stadx::cuda {
namespace {

// Blocks that the largest image needs.
struct LabelGrids {
  Grid cells, words, chunks, images;
};

LabelGrids grids_of(const LabelTable& table, int64_t count, int64_t side) {
  int64_t tiles = 0, words = 0;
  for (int64_t i = 0; i < count; ++i) {
    const GpuLabelImage& image = table.images[i];
    tiles = std::max(tiles,
                     divide_up(image.rows, side * kTileRows) * divide_up(image.columns, side * kTileColumns));
    words = std::max(words, image.rows * divide_up(image.columns, 32));
  }
  return {{tiles, count},
          {divide_up(words, PackMasks::kWords), count},
          {divide_up(words, kChunkWords), count},
          {1, count}};
}

template <int kSide>
void find(const LabelTable& table, int64_t count, const LabelWork& work, Stream stream) {
  const LabelGrids grids = grids_of(table, count, kSide);
  launch(PackMasks{table, work}, grids.words, stream);
  launch(FindRegions<kSide>{table, work}, grids.cells, stream);
  launch(JoinTiles<kSide>{table, work}, grids.cells, stream);
  launch(FlattenRegions<kSide>{table, work}, grids.cells, stream);
  launch(MarkRoots<kSide>{table, work}, grids.cells, stream);
  launch(ScanWords{table, work.roots, work.roots_before, work.chunk_roots}, grids.chunks, stream);
  launch(ScanChunks{table, work.chunk_roots, work.regions}, grids.images, stream);
  if (work.pixels == nullptr) return;
  launch(ScanWords{table, work.bits, work.pixels_before, work.chunk_pixels}, grids.chunks, stream);
  launch(ScanChunks{table, work.chunk_pixels, work.pixels}, grids.images, stream);
}

template <int kSide>
void paint(const LabelTable& table, int64_t count, const LabelWork& work, int32_t* labels, Stream stream) {
  const LabelGrids grids = grids_of(table, count, kSide);
  launch(NumberRegions<kSide>{table, work, nullptr, nullptr}, grids.cells, stream);
  launch(PaintLabels<kSide>{table, work, labels}, grids.words, stream);
}

template <int kSide>
void gather(const LabelTable& table, int64_t count, const LabelWork& work, void* scores, int64_t score_size,
            int32_t* regions, int64_t* areas, int64_t* firsts, Stream stream) {
  const LabelGrids grids = grids_of(table, count, kSide);
  launch(NumberRegions<kSide>{table, work, areas, firsts}, grids.cells, stream);
  if (score_size == 4) {
    launch(GatherPixels<kSide, uint32_t>{table, work, static_cast<uint32_t*>(scores), regions}, grids.words,
           stream);
  } else {
    launch(GatherPixels<kSide, uint64_t>{table, work, static_cast<uint64_t*>(scores), regions}, grids.words,
           stream);
  }
}

}  // namespace

void find_regions(const LabelTable& table, int64_t count, const LabelWork& work, int64_t connectivity,
                  Stream stream) {
  connectivity == 8 ? find<2>(table, count, work, stream) : find<1>(table, count, work, stream);
}

void paint_labels(const LabelTable& table, int64_t count, const LabelWork& work, int64_t connectivity,
                  int32_t* labels, Stream stream) {
  connectivity == 8 ? paint<2>(table, count, work, labels, stream)
                    : paint<1>(table, count, work, labels, stream);
}

void gather_pixels(const LabelTable& table, int64_t count, const LabelWork& work, int64_t connectivity,
                   void* scores, int64_t score_size, int32_t* regions, int64_t* areas, int64_t* firsts,
                   Stream stream) {
  connectivity == 8 ? gather<2>(table, count, work, scores, score_size, regions, areas, firsts, stream)
                    : gather<1>(table, count, work, scores, score_size, regions, areas, firsts, stream);
}

}  // namespace stadx::cuda
