// Scores of a set of images as the GPU's kernels take them.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/gpu.h"

namespace stadx {

// Of scores whose dtype has been checked.
inline cuda::Element score_element(const torch::stable::Tensor& t) {
  return t.scalar_type() == torch::headeronly::ScalarType::Float ? cuda::Element::float32
                                                                 : cuda::Element::float64;
}

// Calls use(sets, count) for all scores, as many at a time as a kernel takes.
template <typename Use>
void for_sets(const std::vector<torch::stable::Tensor>& scores, const Use& use) {
  for (size_t begin = 0; begin < scores.size(); begin += cuda::kScoreSets) {
    const size_t count = std::min<size_t>(cuda::kScoreSets, scores.size() - begin);
    cuda::ScoreSets sets{};
    sets.first = static_cast<int64_t>(begin);
    for (size_t i = 0; i < count; ++i) {
      sets.data[i] = scores[begin + i].const_data_ptr();
      sets.size[i] = scores[begin + i].numel();
    }
    use(sets, static_cast<int64_t>(count));
  }
}

}  // namespace stadx
