// Sums of integers by region.
#pragma once

#include "cuda/block.cuh"

namespace stadx::cuda {

// sums[region[i]] += values[at[i]]. A region's pixels follow each other in a row, so lanes often agree.
struct SumRegions {
  static constexpr int kThreads = 256;
  struct Shared {};
  const int64_t* values;
  const int32_t *at, *region;
  int64_t size;
  int64_t* sums;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t step = block.grid_x() * kThreads;
    for (int64_t begin = block.x() * kThreads; begin < size; begin += step) {
      const int64_t i = begin + block.thread();
      const int32_t r = i < size ? load_constant(region + i) : -1;
      int64_t value = i < size ? load_constant(values + load_constant(at + i)) : 0;
      if (block.ballot(r == block.shuffle(r, 0)) == ~0u) {
#pragma unroll
        for (int k = 16; k > 0; k /= 2) value += block.shuffle_xor(value, k);
        if (block.lane() == 0 && r >= 0) block.atomic_add(sums + r, value);
      } else if (r >= 0) {
        block.atomic_add(sums + r, value);
      }
    }
  }
};

}  // namespace stadx::cuda
