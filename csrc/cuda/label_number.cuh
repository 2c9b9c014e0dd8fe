// From the union-find forest to labels: a region's number is the rank of its first pixel.
#pragma once

#include "cuda/block_sum.cuh"
#include "cuda/label_find.cuh"

namespace stadx::cuda {

// Calls use(image, cell, pixels) for the thread's cell of the tile, if any of it is inside.
template <int kSide, typename Use>
STADX_DEVICE void for_cell(Block& block, const LabelTable& table, const uint32_t* bits, const Use& use) {
  const GpuLabelImage& image = table.images[block.y()];
  int32_t row = 0, column = 0;
  if (!find_tile<kSide>(image, block.x(), row, column)) return;
  const Cell<kSide> cell(image, row + block.warp(), column + block.lane());
  const uint32_t pixels = cell.pixels(bits, image);
  if (pixels != 0) use(image, cell, pixels);
}

// All cells become children of their root, which gets the first pixel and the area of its region.
template <int kSide>
struct FlattenRegions {
  static constexpr int kThreads = kTileColumns * kTileRows;
  struct Shared {};
  LabelTable table;
  LabelWork work;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    for_cell<kSide>(
        block, table, work.bits, [&](const GpuLabelImage& image, const Cell<kSide>& cell, uint32_t) {
          int32_t* parent = work.parent + image.cell_at;
          const int32_t root = find_root(block, parent, cell.number);
          if (root == cell.number) return;
          parent[cell.number] = root;  // others pass through here still: both values lead to the root
          const int64_t at = image.cell_at + cell.number, root_at = image.cell_at + root;
          // Only a tile's root has something to give. It is no root of the image, so nobody adds to it.
          const int32_t first = work.first[at];
          if (first == kNoPixel) return;
          // With cells of one pixel the root is the first. With larger ones few others have an earlier pixel.
          if (kSide == 2 && first < block.load_changing(work.first + root_at)) {
            block.atomic_min(work.first + root_at, first);
          }
          if (work.area != nullptr) block.atomic_add(work.area + root_at, work.area[at]);
        });
  }
};

// Sets the bits of the regions' first pixels.
template <int kSide>
struct MarkRoots {
  static constexpr int kThreads = kTileColumns * kTileRows;
  struct Shared {};
  LabelTable table;
  LabelWork work;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    for_cell<kSide>(block, table, work.bits,
                    [&](const GpuLabelImage& image, const Cell<kSide>& cell, uint32_t) {
                      if (load_constant(work.parent + image.cell_at + cell.number) != cell.number) return;
                      const FirstPixel first(image, cell.row * kSide,
                                             load_constant(work.first + image.cell_at + cell.number));
                      block.atomic_or(work.roots + image.word_at + first.word, 1u << first.bit);
                    });
  }

  // Where a first pixel lies in the bits; it is in its root's rows.
  struct FirstPixel {
    int32_t word;
    int bit;
    STADX_DEVICE FirstPixel(const GpuLabelImage& image, int32_t row, int32_t pixel) {
      int32_t column = pixel - row * image.columns;
      if (column >= image.columns) {
        column -= image.columns;
        ++row;
      }
      word = row * image.row_words() + column / 32;
      bit = column % 32;
    }
  };
};

// before[word]: bits in the words of the chunk before it; chunk_bits[chunk]: bits of the chunk.
struct ScanWords {
  static constexpr int kThreads = 256, kEach = kChunkWords / kThreads;
  struct Shared {
    int32_t warps[kThreads / 32];
  };
  LabelTable table;
  const uint32_t* bits;
  int32_t *before, *chunk_bits;

  STADX_DEVICE void operator()(Block& block, Shared& shared) const {
    const GpuLabelImage& image = table.images[block.y()];
    const int64_t words = image.words(), begin = block.x() * kChunkWords + block.thread() * kEach;
    if (block.x() * kChunkWords >= words) return;  // the whole block
    int32_t count[kEach], mine = 0, total;
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      count[k] = begin + k < words ? popcount(load_constant(bits + image.word_at + begin + k)) : 0;
      mine += count[k];
    }
    int32_t sum = sum_before<kThreads>(block, mine, shared.warps, total);
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (begin + k < words) before[image.word_at + begin + k] = sum;
      sum += count[k];
    }
    if (block.thread() == 0) chunk_bits[image.chunk_at + block.x()] = total;
  }
};

// chunk_bits[chunk] becomes the bits of the image in the chunks before; totals[image]: all. A warp each.
struct ScanChunks {
  static constexpr int kThreads = 32, kEach = 4;
  struct Shared {};
  LabelTable table;
  int32_t* chunk_bits;
  int64_t* totals;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    const GpuLabelImage& image = table.images[block.y()];
    const int32_t words = image.words(), chunks = words / kChunkWords + (words % kChunkWords != 0);
    int32_t* values = chunk_bits + image.chunk_at;
    int32_t carry = 0;
    for (int32_t begin = 0; begin < chunks; begin += 32 * kEach) {
      int32_t value[kEach];
#pragma unroll
      for (int k = 0; k < kEach; ++k) {  // all loads first
        const int32_t i = begin + k * 32 + block.lane();
        value[k] = i < chunks ? values[i] : 0;
      }
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        int32_t sum = value[k];
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
          const int32_t other = block.shuffle_up(sum, step);
          if (block.lane() >= step) sum += other;
        }
        const int32_t i = begin + k * 32 + block.lane();
        if (i < chunks) values[i] = carry + sum - value[k];
        carry += block.shuffle(sum, 31);
      }
    }
    if (block.lane() == 0) totals[image.number] = carry;
  }
};

// first[root] becomes the region's label, from 1. Writes areas and firsts, [regions of the set], unless null.
template <int kSide>
struct NumberRegions {
  static constexpr int kThreads = kTileColumns * kTileRows;
  struct Shared {};
  LabelTable table;
  LabelWork work;
  int64_t *areas, *firsts;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    for_cell<kSide>(
        block, table, work.bits, [&](const GpuLabelImage& image, const Cell<kSide>& cell, uint32_t) {
          const int64_t at = image.cell_at + cell.number;
          if (load_constant(work.parent + at) != cell.number) return;
          const int32_t pixel = work.first[at];
          const typename MarkRoots<kSide>::FirstPixel first(image, cell.row * kSide, pixel);
          const int64_t word = image.word_at + first.word;
          const int32_t before = load_constant(work.chunk_roots + image.chunk_at + first.word / kChunkWords) +
                                 load_constant(work.roots_before + word) +
                                 popcount(load_constant(work.roots + word) & ((1u << first.bit) - 1));
          work.first[at] = before + 1;
          if (areas == nullptr) return;
          areas[image.first_region + before] = load_constant(work.area + at);
          firsts[image.first_region + before] = pixel;
        });
  }
};

// Calls use(image, row, column, word, bits) for every pixel, also those outside; a warp has the 32 of a word.
template <typename Use>
STADX_DEVICE void for_pixels(Block& block, const LabelTable& table, const uint32_t* bits, const Use& use) {
  const GpuLabelImage& image = table.images[block.y()];
  const int64_t words = image.words(),
                begin = block.x() * PackMasks::kWords + block.warp() * PackMasks::kEach;
  const uint32_t across = static_cast<uint32_t>(image.row_words());
#pragma unroll
  for (int k = 0; k < PackMasks::kEach; ++k) {
    if (begin + k >= words) return;
    const uint32_t word = static_cast<uint32_t>(begin) + k, row = word / across;
    const int64_t column = int64_t{word - row * across} * 32 + block.lane();
    if (column >= image.columns) continue;
    use(image, static_cast<int32_t>(row), static_cast<int32_t>(column), static_cast<int32_t>(word),
        load_constant(bits + image.word_at + word));
  }
}

template <int kSide>
STADX_DEVICE int32_t label_at(const LabelWork& work, const GpuLabelImage& image, int32_t row,
                              int32_t column) {
  const Cell<kSide> cell(image, row / kSide, column / kSide);
  return load_constant(work.first + image.cell_at + load_constant(work.parent + image.cell_at + cell.number));
}

// labels[image.first_pixel + pixel], 0 outside.
template <int kSide>
struct PaintLabels {
  static constexpr int kThreads = PackMasks::kThreads;
  struct Shared {};
  LabelTable table;
  LabelWork work;
  int32_t* labels;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    for_pixels(block, table, work.bits,
               [&](const GpuLabelImage& image, int32_t row, int32_t column, int32_t, uint32_t bits) {
                 const bool inside = (bits >> block.lane() & 1) != 0;
                 labels[image.first_pixel + int64_t{row} * image.columns + column] =
                     inside ? label_at<kSide>(work, image, row, column) : 0;
               });
  }
};

// scores and regions, [pixels of the set], of the pixels inside; Score: an integer of the scores' size.
template <int kSide, typename Score>
struct GatherPixels {
  static constexpr int kThreads = PackMasks::kThreads;
  struct Shared {};
  LabelTable table;
  LabelWork work;
  Score* scores;
  int32_t* regions;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    for_pixels(block, table, work.bits,
               [&](const GpuLabelImage& image, int32_t row, int32_t column, int32_t word, uint32_t bits) {
                 if ((bits >> block.lane() & 1) == 0) return;
                 const int64_t at = image.first_pixel +
                                    load_constant(work.chunk_pixels + image.chunk_at + word / kChunkWords) +
                                    load_constant(work.pixels_before + image.word_at + word) +
                                    popcount(bits & ((1u << block.lane()) - 1));
                 scores[at] =
                     load_constant(static_cast<const Score*>(image.map) + row * image.map_stride + column);
                 regions[at] =
                     static_cast<int32_t>(image.first_region) + label_at<kSide>(work, image, row, column) - 1;
               });
  }
};

}  // namespace stadx::cuda
