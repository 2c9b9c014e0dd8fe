// What ensemble_score and phase_score share on a GPU.
#pragma once

#include "ops/gpu.h"

namespace stadx {

inline void check_network_count(int64_t networks) {
  STD_TORCH_CHECK(networks <= cuda::kMaxNetworks, "ensemble_score: at most ", cuda::kMaxNetworks - 1,
                  " students on a GPU, but there are ", networks - 1);
}

// Whether a dimension's stride is 1, or irrelevant.
inline bool is_innermost(const torch::stable::Tensor& t, int64_t dim) {
  return t.size(dim) == 1 || t.stride(dim) == 1;
}

}  // namespace stadx
