// Images whose regions are labelled: what the kernels know of them, and the mask as bits, the only form that
// is read after the first kernel.
#pragma once

#include "cuda/block.cuh"
#include "cuda/launchers.h"

namespace stadx::cuda {

inline constexpr int32_t kNoPixel = 0x7fffffff;

// A word of a row; zero beyond the image.
STADX_DEVICE uint32_t word_of_row(const uint32_t* bits, const GpuLabelImage& image, int32_t row,
                                  int32_t word) {
  const int32_t words = image.row_words();
  if (row < 0 || row >= image.rows || word < 0 || word >= words) return 0;
  return load_constant(bits + image.word_at + int64_t{row} * words + word);
}

// Bits of a row from `column` on, `count` of them (below 32).
STADX_DEVICE uint32_t bits_of_row(const uint32_t* bits, const GpuLabelImage& image, int32_t row,
                                  int32_t column, int count) {
  const int32_t word = column >> 5, shift = column & 31;
  uint32_t found = word_of_row(bits, image, row, word) >> shift;
  if (shift + count > 32) found |= word_of_row(bits, image, row, word + 1) << (32 - shift);
  return found & ((1u << count) - 1);
}

// A cell's place and pixels. kSide: 1 for 4-connectivity, 2 for 8.
template <int kSide>
struct Cell {
  int32_t row, column;  // among cells
  int32_t number;       // within the image
  bool exists;

  static STADX_DEVICE int32_t columns(const GpuLabelImage& image) {
    return image.columns / kSide + (image.columns % kSide);
  }
  static STADX_DEVICE int32_t rows(const GpuLabelImage& image) {
    return image.rows / kSide + (image.rows % kSide);
  }

  STADX_DEVICE Cell(const GpuLabelImage& image, int32_t r, int32_t c) : row(r), column(c) {
    exists = r < rows(image) && c < columns(image);
    number = exists ? r * columns(image) + c : 0;
  }

  // The cell's pixels inside, bits (upper left, upper right, lower left, lower right).
  STADX_DEVICE uint32_t pixels(const uint32_t* bits, const GpuLabelImage& image) const {
    if (!exists) return 0;
    uint32_t found = bits_of_row(bits, image, row * kSide, column * kSide, kSide);
    if (kSide == 2) found |= bits_of_row(bits, image, row * 2 + 1, column * 2, 2) << 2;
    return found;
  }

  // The first of these pixels in raster order of the image.
  STADX_DEVICE int32_t first_pixel(const GpuLabelImage& image, uint32_t pixels) const {
    const int place = lowest_bit(pixels);
    return (row * kSide + place / 2) * image.columns + column * kSide + place % 2;
  }
};

// Thread blocks of tiles of cells: a warp is a row of a tile.
inline constexpr int kTileColumns = 32, kTileRows = 8;

// The first cell of a tile; false beyond the last tile.
template <int kSide>
STADX_DEVICE bool find_tile(const GpuLabelImage& image, int64_t tile, int32_t& row, int32_t& column) {
  if (image.rows == 0 || image.columns == 0) return false;
  const uint32_t across = static_cast<uint32_t>(Cell<kSide>::columns(image) - 1) / kTileColumns + 1;
  const uint32_t tile_row = static_cast<uint32_t>(tile) / across;  // 32 bits: faster
  if (int64_t{tile_row} * kTileRows >= Cell<kSide>::rows(image)) return false;
  row = static_cast<int32_t>(tile_row * kTileRows);
  column = static_cast<int32_t>((static_cast<uint32_t>(tile) - tile_row * across) * kTileColumns);
  return true;
}

// mask -> bits; a warp makes kEach words. Clears `roots`.
struct PackMasks {
  static constexpr int kThreads = 256, kEach = 4;
  static constexpr int kWords = kThreads / 32 * kEach;  // of a block
  struct Shared {};
  LabelTable table;
  LabelWork work;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    const GpuLabelImage& image = table.images[block.y()];
    const int64_t begin = block.x() * kWords + block.warp() * kEach;
    const int64_t words = image.words();
    if (begin >= words) return;  // the whole warp
    const uint32_t across = static_cast<uint32_t>(image.row_words());
    bool inside[kEach];
#pragma unroll
    for (int k = 0; k < kEach; ++k) {  // all loads first
      const uint32_t word = static_cast<uint32_t>(begin) + k, row = word / across;
      const int64_t column = int64_t{word - row * across} * 32 + block.lane();
      inside[k] =
          begin + k < words && column < image.columns && is_set(image, row * image.row_stride + column);
    }
    uint32_t mine = 0;
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const uint32_t bits = block.ballot(inside[k]);
      if (block.lane() == k) mine = bits;
    }
    if (block.lane() < kEach && begin + block.lane() < words) {
      work.bits[image.word_at + begin + block.lane()] = mine;
      work.roots[image.word_at + begin + block.lane()] = 0;
    }
  }

 private:
  static STADX_DEVICE bool is_set(const GpuLabelImage& image, int64_t at) {
    if (image.element_size == 1) return load_constant(static_cast<const uint8_t*>(image.mask) + at) != 0;
    if (image.element_size == 2) return load_constant(static_cast<const uint16_t*>(image.mask) + at) != 0;
    if (image.element_size == 4) return load_constant(static_cast<const uint32_t*>(image.mask) + at) != 0;
    return load_constant(static_cast<const uint64_t*>(image.mask) + at) != 0;
  }
};

}  // namespace stadx::cuda
