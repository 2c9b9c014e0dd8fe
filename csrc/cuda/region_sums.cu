// Starts the kernel of region_sums.
#include "cuda/region_sums.cuh"

#include "cuda/score_grid.cuh"

namespace stadx::cuda {

void sum_regions(const int64_t* values, const int32_t* at, const int32_t* region, int64_t size, int64_t* sums,
                 Stream stream) {
  launch(SumRegions{values, at, region, size, sums}, {std::min(divide_up(size, 256), kMaxBlocks)}, stream);
}

}  // namespace stadx::cuda
