// How many blocks a kernel that reads the scores of many images is started with.
#pragma once

#include <algorithm>

#include "cuda/launch.cuh"
#include "cuda/launchers.h"

namespace stadx::cuda {

inline constexpr int64_t kMaxBlocks = 1024;  // of one image: several for every multiprocessor there is

template <typename Kernel>
Grid grid_over(const ScoreSets& sets, int64_t count) {
  int64_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, sets.size[i]);
  const int64_t chunks = divide_up(most, int64_t{Kernel::kThreads} * Kernel::kEach);
  return {std::min(chunks, std::max(kMaxBlocks / count, int64_t{1})), count};
}

}  // namespace stadx::cuda
