// What every backend of ensemble_score checks; the dtypes are each backend's own.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

namespace stadx {

inline void check_ensemble(const torch::stable::Tensor& students, const torch::stable::Tensor& teacher,
                           const torch::stable::Tensor& mean, const torch::stable::Tensor& std_dev) {
  STD_TORCH_CHECK(students.dim() == 5, "ensemble_score: students must be [M, B, d, H, W], but has ",
                  students.dim(), " dimensions");
  STD_TORCH_CHECK(teacher.dim() == 4, "ensemble_score: teacher must be [B, d, H, W], but has ", teacher.dim(),
                  " dimensions");
  STD_TORCH_CHECK(students.size(0) >= 1, "ensemble_score: at least one student is needed (M >= 1)");
  for (int64_t i = 0; i < 4; ++i) {
    STD_TORCH_CHECK(students.size(i + 1) == teacher.size(i),
                    "ensemble_score: students and teacher differ in dimension ", "BdHW"[i], ": ",
                    students.size(i + 1), " and ", teacher.size(i));
  }
  STD_TORCH_CHECK(students.scalar_type() == teacher.scalar_type(),
                  "ensemble_score: students and teacher must have the same dtype");
  for (const torch::stable::Tensor* t : {&mean, &std_dev}) {
    STD_TORCH_CHECK(t->dim() == 1 && t->size(0) == teacher.size(1),
                    "ensemble_score: mean and std must be [d] with d = ", teacher.size(1));
    STD_TORCH_CHECK(t->scalar_type() == torch::headeronly::ScalarType::Float,
                    "ensemble_score: mean and std must be float32");
  }
  for (const torch::stable::Tensor* t : {&students, &mean, &std_dev}) {
    STD_TORCH_CHECK(t->device() == teacher.device(), "ensemble_score: all tensors must be on one device");
  }
}

}  // namespace stadx
