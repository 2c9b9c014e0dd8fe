// What the operators that count scores and sum up regions ask of their arguments, on every device.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <vector>

namespace stadx {

// `what` begins the message.
inline void check_score_dtype(const torch::stable::Tensor& t, const char* what) {
  using torch::headeronly::ScalarType;
  const ScalarType dtype = t.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, what,
                  " must be float32 or float64");
}

// All must be like `like`; `its_dtype` names that in the message.
inline void check_scores(const std::vector<torch::stable::Tensor>& scores, const torch::stable::Tensor& like,
                         const char* name, const char* its_dtype) {
  for (size_t i = 0; i < scores.size(); ++i) {
    STD_TORCH_CHECK(scores[i].scalar_type() == like.scalar_type(), name, ": scores ", i, " must have ",
                    its_dtype);
    STD_TORCH_CHECK(scores[i].is_contiguous(), name, ": scores ", i, " must be contiguous");
    STD_TORCH_CHECK(scores[i].device() == like.device(), name, ": scores ", i, " must be on the same device");
  }
}

inline void check_count_above(const std::vector<torch::stable::Tensor>& scores,
                              const torch::stable::Tensor& thresholds) {
  check_score_dtype(thresholds, "count_above: thresholds");
  STD_TORCH_CHECK(thresholds.dim() == 1 && thresholds.size(0) >= 1 && thresholds.size(0) < int64_t{1} << 31,
                  "count_above: thresholds must be [E] with 1 ≤ E < 2^31");
  check_scores(scores, thresholds, "count_above", "the thresholds' dtype");
}

inline void check_region_sums(const torch::stable::Tensor& values, const torch::stable::Tensor& at,
                              const torch::stable::Tensor& region, int64_t regions) {
  using torch::headeronly::ScalarType;
  STD_TORCH_CHECK(values.dim() == 1 && values.scalar_type() == ScalarType::Long,
                  "region_sums: values must be int64 [E]");
  STD_TORCH_CHECK(at.dim() == 1 && region.dim() == 1 && at.size(0) == region.size(0) &&
                      at.scalar_type() == ScalarType::Int && region.scalar_type() == ScalarType::Int,
                  "region_sums: at and region must be int32 [n]");
  STD_TORCH_CHECK(at.device() == values.device() && region.device() == values.device(),
                  "region_sums: all tensors must be on one device");
  STD_TORCH_CHECK(regions >= 0, "region_sums: regions must be at least 0");
}

}  // namespace stadx
