// What label_regions and defect_pixels ask of their arguments, on every device.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <limits>
#include <vector>

namespace stadx {

inline bool is_integer(torch::headeronly::ScalarType dtype) {
  using torch::headeronly::ScalarType;
  return dtype == ScalarType::Bool || dtype == ScalarType::Byte || dtype == ScalarType::Char ||
         dtype == ScalarType::Short || dtype == ScalarType::Int || dtype == ScalarType::Long ||
         dtype == ScalarType::UInt16 || dtype == ScalarType::UInt32 || dtype == ScalarType::UInt64;
}

// Whether int32 can number the pixels of an image, a row to spare.
inline bool can_be_labelled(int64_t height, int64_t width) {
  return width <= (std::numeric_limits<int32_t>::max() - 64) / (height + 2);
}

inline void check_label_regions(const torch::stable::Tensor& mask, int64_t connectivity) {
  STD_TORCH_CHECK(mask.dim() == 3, "label_regions: mask must be [B, H, W], but has ", mask.dim(),
                  " dimensions");
  STD_TORCH_CHECK(is_integer(mask.scalar_type()), "label_regions: mask must be bool or integer");
  STD_TORCH_CHECK(connectivity == 4 || connectivity == 8,
                  "label_regions: connectivity must be 4 or 8, but is ", connectivity);
  STD_TORCH_CHECK(can_be_labelled(mask.size(1), mask.size(2)), "label_regions: an image of ", mask.size(1),
                  " x ", mask.size(2), " pixels has more than the 2^31 that int32 labels can number");
}

// From a tensor's first byte to behind its last; negative strides do not occur.
inline int64_t bytes_between(const torch::stable::Tensor& tensor) {
  int64_t last = 0;
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
    if (tensor.size(axis) == 0) return 0;
    last += (tensor.size(axis) - 1) * tensor.stride(axis);
  }
  return (last + 1) * static_cast<int64_t>(tensor.element_size());
}

// What label_regions_out asks of the labels that it writes.
inline void check_labels(const torch::stable::Tensor& mask, const torch::stable::Tensor& labels) {
  STD_TORCH_CHECK(labels.scalar_type() == torch::headeronly::ScalarType::Int && labels.is_contiguous() &&
                      labels.dim() == 3 && labels.size(0) == mask.size(0) && labels.size(1) == mask.size(1) &&
                      labels.size(2) == mask.size(2),
                  "label_regions: out must be int32, contiguous, and of the mask's shape");
  STD_TORCH_CHECK(labels.device() == mask.device(), "label_regions: out must be on the mask's device");
  const auto* read = static_cast<const char*>(mask.const_data_ptr());
  const auto* written = static_cast<const char*>(labels.const_data_ptr());
  STD_TORCH_CHECK(read + bytes_between(mask) <= written || written + bytes_between(labels) <= read,
                  "label_regions: out must not share memory with the mask");
}

inline void check_defect_pixels(const std::vector<torch::stable::Tensor>& maps,
                                const std::vector<torch::stable::Tensor>& masks, int64_t connectivity) {
  using torch::headeronly::ScalarType;
  using torch::stable::Tensor;
  STD_TORCH_CHECK(connectivity == 4 || connectivity == 8,
                  "defect_pixels: connectivity must be 4 or 8, but is ", connectivity);
  STD_TORCH_CHECK(!maps.empty() && maps.size() == masks.size(),
                  "defect_pixels: needs as many masks as maps, at least one");
  for (size_t i = 0; i < maps.size(); ++i) {
    const Tensor &map = maps[i], &mask = masks[i];
    STD_TORCH_CHECK(
        map.dim() == 2 && mask.dim() == 2 && map.size(0) == mask.size(0) && map.size(1) == mask.size(1),
        "defect_pixels: map and mask ", i, " must be [H, W] of one size");
    STD_TORCH_CHECK(map.scalar_type() == maps[0].scalar_type() &&
                        (map.scalar_type() == ScalarType::Float || map.scalar_type() == ScalarType::Double),
                    "defect_pixels: maps must be all float32 or all float64");
    STD_TORCH_CHECK(is_integer(mask.scalar_type()), "defect_pixels: mask ", i, " must be bool or integer");
    STD_TORCH_CHECK(can_be_labelled(mask.size(0), mask.size(1)), "defect_pixels: image ", i,
                    " has more pixels than int32 can number");
  }
}

}  // namespace stadx
