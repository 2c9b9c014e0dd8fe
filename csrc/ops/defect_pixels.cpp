// stadx::defect_pixels: the scores of all ground-truth pixels of a set of images, and the region of each.
#include <torch/csrc/stable/library.h>

#include <limits>
#include <tuple>
#include <vector>

#include "ops/label_checks.h"
#include "ops/label_workspace.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> defect_pixels_cpu(const std::vector<Tensor> maps,
                                                                     const std::vector<Tensor> masks,
                                                                     int64_t connectivity) {
  check_defect_pixels(maps, masks, connectivity);
  const int64_t images = static_cast<int64_t>(maps.size());
  std::vector<Tensor> scores, truth;
  for (int64_t i = 0; i < images; ++i) {
    scores.push_back(maps[i].stride(1) == 1 ? maps[i] : torch::stable::contiguous(maps[i]));
    truth.push_back(masks[i].stride(1) == 1 ? masks[i] : torch::stable::contiguous(masks[i]));
  }
  const auto view = [&](int64_t i) {
    const Tensor& mask = truth[i];
    return MaskView{mask.const_data_ptr(), mask.size(0), mask.size(1), mask.stride(0),
                    static_cast<int>(mask.element_size())};
  };
  // Images without a defect, most of many sets, need no workspace for the second step.
  std::vector<std::unique_ptr<LabelWorkspace>> kept(images);
  const auto label = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      auto workspace = std::make_unique<LabelWorkspace>(view(i), connectivity == 8);
      workspace->label();
      if (workspace->pixels() > 0) kept[i] = std::move(workspace);
    }
  };
  if (images < torch::stable::get_num_threads()) {
    label(0, images);
  } else {
    torch::stable::parallel_for(0, images, 1, label);
  }

  Tensor region_counts = torch::stable::new_zeros(maps[0], {images}, ScalarType::Long);
  int64_t* counts = region_counts.mutable_data_ptr<int64_t>();
  std::vector<int64_t> first_pixel(images + 1), first_region(images + 1);
  for (int64_t i = 0; i < images; ++i) {
    if (kept[i] != nullptr) counts[i] = kept[i]->regions();
    first_pixel[i + 1] = first_pixel[i] + (kept[i] == nullptr ? 0 : kept[i]->pixels());
    first_region[i + 1] = first_region[i] + counts[i];
  }
  STD_TORCH_CHECK(first_region[images] < std::numeric_limits<int32_t>::max(),
                  "defect_pixels: more regions than int32 can number");
  Tensor values = torch::stable::new_empty(maps[0], {first_pixel[images]});
  Tensor regions = torch::stable::new_empty(maps[0], {first_pixel[images]}, ScalarType::Int);
  Tensor areas = torch::stable::new_zeros(maps[0], {first_region[images]}, ScalarType::Long);
  Tensor firsts = torch::stable::new_empty(maps[0], {first_region[images]}, ScalarType::Long);
  const int element_size = static_cast<int>(maps[0].element_size());
  torch::stable::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (kept[i] == nullptr) continue;
      const LabelImage& image = kept[i]->image();
      const DefectPixels out{static_cast<char*>(values.mutable_data_ptr()) + first_pixel[i] * element_size,
                             regions.mutable_data_ptr<int32_t>() + first_pixel[i],
                             areas.mutable_data_ptr<int64_t>() + first_region[i],
                             static_cast<int32_t>(first_region[i])};
      kernels().label_gather(image, scores[i].const_data_ptr(), scores[i].stride(0), element_size, out);
      std::copy_n(image.roots, counts[i], firsts.mutable_data_ptr<int64_t>() + first_region[i]);
    }
  });
  return {values, regions, areas, firsts, region_counts};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def(
      "defect_pixels(Tensor[] maps, Tensor[] masks, int connectivity=8) -> "
      "(Tensor scores, Tensor regions, Tensor areas, Tensor firsts, Tensor counts)");
}

STABLE_TORCH_LIBRARY_IMPL(stadx, CPU, m) { m.impl("defect_pixels", TORCH_BOX(&defect_pixels_cpu)); }

}  // namespace stadx
