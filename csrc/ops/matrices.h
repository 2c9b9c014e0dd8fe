// Stacks of matrices, as Winograd's method has them for training: one for each entry of a tile.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "ops/float_checks.h"

namespace stadx {

// Floats between two matrices of a new stack: without, those of the usual sizes begin at multiples of 4096
// bytes, and their entries share a few sets of the cache.
inline constexpr int64_t kMatrixGap = 16;

// A new stack [count, rows, columns].
inline torch::stable::Tensor new_matrices(const torch::stable::Tensor& like, int64_t count, int64_t rows,
                                          int64_t columns) {
  const int64_t size = rows * columns;
  torch::stable::Tensor room = torch::stable::new_empty(like, {count, size + kMatrixGap});
  return torch::stable::view(torch::stable::narrow(room, 1, 0, size), {count, rows, columns});
}

// Each matrix row by row, whatever lies between them. `name` begins the message.
inline void check_matrices(const torch::stable::Tensor& t, const char* name) {
  STD_TORCH_CHECK(t.dim() == 3 && t.scalar_type() == torch::headeronly::ScalarType::Float, name,
                  " must be a float32 tensor of 3 dimensions");
  // A dimension of one element may have any stride.
  STD_TORCH_CHECK(t.numel() == 0 ||
                      ((t.size(2) == 1 || t.stride(2) == 1) && (t.size(1) == 1 || t.stride(1) == t.size(2))),
                  name, " must be contiguous in its last two dimensions");
}

}  // namespace stadx
