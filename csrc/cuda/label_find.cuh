// Union-find over the cells of masks: within tiles in shared memory, then across their borders. Roots are the
// cells with the smallest numbers, so no result depends on the order of threads.
#pragma once

#include "cuda/label_image.cuh"

namespace stadx::cuda {

STADX_DEVICE int32_t find_root(Block& block, const int32_t* parent, int32_t cell) {
  for (;;) {
    const int32_t above = block.load_changing(parent + cell);
    if (above == cell) return cell;
    cell = above;
  }
}

// Any number of threads may unite at the same time.
STADX_DEVICE void unite(Block& block, int32_t* parent, int32_t a, int32_t b) {
  for (;;) {
    a = find_root(block, parent, a);
    b = find_root(block, parent, b);
    if (a == b) return;
    if (a < b) {
      const int32_t swap = a;
      a = b;
      b = swap;
    }
    const int32_t before = block.atomic_min(parent + a, b);
    if (before == a) return;
    a = before;  // another thread was faster: the parent it gave `a` belongs to b as well
  }
}

// With which of the cells before it in raster order a cell is connected. Left out is what follows from other
// cells' links: those of a filled area are one a cell to the left and one a row upwards.
struct CellLinks {
  bool left, up, up_left, up_right;
};

template <int kSide>
STADX_DEVICE CellLinks links_of(const uint32_t* bits, const GpuLabelImage& image, const Cell<kSide>& cell) {
  if (!cell.exists) return {false, false, false, false};
  if constexpr (kSide == 1) {  // bit 0: the column to the left, bit 1: the cell's own
    const uint32_t here = bits_of_row(bits, image, cell.row, cell.column - 1, 2);
    const uint32_t above = bits_of_row(bits, image, cell.row - 1, cell.column - 1, 2);
    return {here == 3, (here & above & 2) != 0 && (here & above) != 3, false, false};
  } else {  // bits 0, 1: the cell to the left, 2, 3: the cell, 4: the column to the right
    const int32_t row = cell.row * 2, column = cell.column * 2 - 2;
    const uint32_t top = bits_of_row(bits, image, row, column, 5),
                   bottom = bits_of_row(bits, image, row + 1, column, 5);
    const uint32_t above = bits_of_row(bits, image, row - 1, column, 5);
    const uint32_t far_above = bits_of_row(bits, image, row - 2, column, 5);
    const uint32_t both = top | bottom, both_above = above | far_above;
    const bool left = (both & 2) != 0 && (both & 4) != 0;
    const bool beside =
        left && (top & 3) != 0 && (above & 3) != 0 && (both_above & 2) != 0 && (both_above & 4) != 0;
    return {left, (top & 12) != 0 && (above & 12) != 0 && !beside,
            (top & 4) != 0 && (above & 2) != 0 && (top & 2) == 0 && (above & 4) == 0,
            (top & 8) != 0 && (above & 16) != 0 && (top & 16) == 0 && (above & 8) == 0};
  }
}

// parent, first and area of the cells, as if every tile were an image. Empty tiles are left undefined.
template <int kSide>
struct FindRegions {
  static constexpr int kThreads = kTileColumns * kTileRows;
  struct Shared {
    int32_t parent[kThreads], first[kThreads], area[kThreads];
  };
  LabelTable table;
  LabelWork work;

  STADX_DEVICE void operator()(Block& block, Shared& shared) const {
    const GpuLabelImage& image = table.images[block.y()];
    int32_t row = 0, column = 0;
    if (!find_tile<kSide>(image, block.x(), row, column)) return;  // the whole block
    // Every warp looks at all of the tile's words, so all of them know.
    constexpr int kWords = kSide * kTileRows * kSide;
    const int lane = block.lane(), me = block.thread();
    const uint32_t some = lane < kWords ? word_of_row(work.bits, image, row * kSide + lane / kSide,
                                                      column / 32 * kSide + lane % kSide)
                                        : 0;
    if (block.ballot(some != 0) == 0) return;

    const Cell<kSide> cell(image, row + block.warp(), column + lane);
    const uint32_t pixels = cell.pixels(work.bits, image);
    const CellLinks links = links_of(work.bits, image, cell);
    // A run of cells in a row begins at the last cell that has no link to the left.
    const uint32_t begins = ~block.ballot(links.left && lane > 0) & (~0u >> (31 - lane));
    const int32_t start = block.warp() * 32 + highest_bit(begins);
    shared.parent[me] = start;
    shared.first[me] = kNoPixel;
    shared.area[me] = 0;
    block.sync();
    if (block.warp() > 0) {
      if (links.up) unite(block, shared.parent, me, me - 32);
      if (links.up_left && lane > 0) unite(block, shared.parent, me, me - 33);
      if (links.up_right && lane < 31) unite(block, shared.parent, me, me - 31);
    }
    block.sync();
    const int32_t root = find_root(block, shared.parent, me);
    collect(block, shared, image, cell, pixels, root);
    block.sync();
    if (pixels == 0) return;
    const int64_t at = image.cell_at + cell.number;
    work.parent[at] = Cell<kSide>(image, row + root / 32, column + root % 32).number;
    work.first[at] = root == me ? shared.first[me] : kNoPixel;
    if (work.area != nullptr) work.area[at] = root == me ? shared.area[me] : 0;
  }

 private:
  static STADX_DEVICE int highest_bit(uint32_t bits) {
    for (int step = 1; step < 32; step *= 2) bits |= bits >> step;
    return popcount(bits) - 1;
  }

  // A warp whose cells are of one region adds once: threads of a large region would wait for each other.
  STADX_DEVICE void collect(Block& block, Shared& shared, const GpuLabelImage& image, const Cell<kSide>& cell,
                            uint32_t pixels, int32_t root) const {
    const uint32_t inside = block.ballot(pixels != 0);
    const int leader = inside == 0 ? 0 : lowest_bit(inside);
    const int32_t common = block.shuffle(root, leader);
    const bool agreed = block.ballot(pixels != 0 && root != common) == 0;
    int32_t first = pixels == 0 ? kNoPixel : cell.first_pixel(image, pixels), area = popcount(pixels);
    if (agreed) {
#pragma unroll
      for (int step = 16; step > 0; step /= 2) {
        const int32_t other = block.shuffle_xor(first, step);
        first = other < first ? other : first;
        area += block.shuffle_xor(area, step);
      }
    }
    if (pixels == 0 || (agreed && block.lane() != leader)) return;
    block.atomic_min(shared.first + root, first);
    if (work.area != nullptr) block.atomic_add(shared.area + root, area);
  }
};

// Unites the cells along the tiles' borders: a thread for each cell of the first row and the outer columns.
template <int kSide>
struct JoinTiles {
  static constexpr int kThreads = 64;
  struct Shared {};
  LabelTable table;
  LabelWork work;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    const GpuLabelImage& image = table.images[block.y()];
    int32_t row = 0, column = 0;
    if (!find_tile<kSide>(image, block.x(), row, column)) return;
    const int me = block.thread(), side = me - kTileColumns;
    if (side >= 2 * kTileRows) return;
    const int r = side < 0 ? 0 : side % kTileRows,
              c = side < 0 ? me : (side < kTileRows ? 0 : kTileColumns - 1);
    if (side >= 0 && r == 0) return;  // in the first row
    const Cell<kSide> cell(image, row + r, column + c);
    const CellLinks links = links_of(work.bits, image, cell);
    int32_t* parent = work.parent + image.cell_at;
    const int32_t above = cell.number - Cell<kSide>::columns(image);
    if (links.left && c == 0) unite(block, parent, cell.number, cell.number - 1);
    if (links.up && r == 0) unite(block, parent, cell.number, above);
    if (links.up_left && (r == 0 || c == 0)) unite(block, parent, cell.number, above - 1);
    if (links.up_right && (r == 0 || c == kTileColumns - 1)) unite(block, parent, cell.number, above + 1);
  }
};

}  // namespace stadx::cuda
