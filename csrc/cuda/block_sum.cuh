// Sums and running sums over the threads of a block.
#pragma once

#include "cuda/block.cuh"

namespace stadx::cuda {

// The sum of the values of the threads before this one. `warps` is shared memory, one entry per warp; the
// block's total goes to `total`. Ends with a barrier, so `warps` may be used again at once.
template <int kThreads, typename T>
STADX_DEVICE T sum_before(Block& block, T value, T* warps, T& total) {
  T sum = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const T other = block.shuffle_up(sum, step);
    if (block.lane() >= step) sum += other;
  }
  if (block.lane() == 31) warps[block.warp()] = sum;
  block.sync();
  T before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < kThreads / 32; ++w) {
    if (w == block.warp()) before = total;
    total += warps[w];
  }
  block.sync();
  return before + sum - value;
}

}  // namespace stadx::cuda
