// What the dense engine's operators ask of every tensor of floats.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

namespace stadx {

// `name` begins the message.
inline void check_floats(const torch::stable::Tensor& t, int64_t dims, const char* name) {
  STD_TORCH_CHECK(
      t.dim() == dims && t.scalar_type() == torch::headeronly::ScalarType::Float && t.is_contiguous(), name,
      " must be a contiguous float32 tensor of ", dims, " dimensions");
}

}  // namespace stadx
