// stadx::defect_pixels: the scores of all ground-truth pixels of a set of images, and the region of each.

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "ops/label_checks.h"
#include "ops/label_workspace.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The defect pixels of one image; its regions count from 0.
struct Found {
  std::vector<char> scores;
  std::vector<int32_t> regions, firsts;
  std::vector<int64_t> areas;

  Found() = default;
  Found(const LabelWorkspace& workspace, const Tensor& map, int element_size)
      : scores(workspace.pixels() * element_size),
        regions(workspace.pixels()),
        firsts(workspace.image().roots, workspace.image().roots + workspace.regions()),
        areas(workspace.regions()) {
    kernels().label_gather(workspace.image(), map.const_data_ptr(), map.stride(0), element_size,
                           {scores.data(), regions.data(), areas.data(), 0});
  }
};

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
  const int element_size = static_cast<int>(maps[0].element_size());
  Tensor region_counts = torch::stable::new_zeros(maps[0], {images}, ScalarType::Long);
  int64_t* counts = region_counts.mutable_data_ptr<int64_t>();
  std::vector<Found> found(images);
  const auto label = [&](int64_t begin, int64_t end) {
    LabelWorkspace workspace(connectivity == 8);
    for (int64_t i = begin; i < end; ++i) {
      workspace.label(view(i));
      if (workspace.pixels() == 0) continue;
      counts[i] = workspace.regions();
      found[i] = Found(workspace, scores[i], element_size);
    }
  };
  if (images < torch::stable::get_num_threads()) {
    label(0, images);
  } else {
    torch::stable::parallel_for(0, images, 1, label);
  }

  std::vector<int64_t> first_pixel(images + 1), first_region(images + 1);
  for (int64_t i = 0; i < images; ++i) {
    first_pixel[i + 1] = first_pixel[i] + static_cast<int64_t>(found[i].regions.size());
    first_region[i + 1] = first_region[i] + counts[i];
  }
  STD_TORCH_CHECK(first_region[images] < std::numeric_limits<int32_t>::max(),
                  "defect_pixels: more regions than int32 can number");
  Tensor values = torch::stable::new_empty(maps[0], {first_pixel[images]});
  Tensor regions = torch::stable::new_empty(maps[0], {first_pixel[images]}, ScalarType::Int);
  Tensor areas = torch::stable::new_empty(maps[0], {first_region[images]}, ScalarType::Long);
  Tensor firsts = torch::stable::new_empty(maps[0], {first_region[images]}, ScalarType::Long);
  for (int64_t i = 0; i < images; ++i) {
    const Found& here = found[i];
    std::copy(here.scores.begin(), here.scores.end(),
              static_cast<char*>(values.mutable_data_ptr()) + first_pixel[i] * element_size);
    std::transform(here.regions.begin(), here.regions.end(),
                   regions.mutable_data_ptr<int32_t>() + first_pixel[i],
                   [&](int32_t region) { return region + static_cast<int32_t>(first_region[i]); });
    std::copy(here.areas.begin(), here.areas.end(), areas.mutable_data_ptr<int64_t>() + first_region[i]);
    std::copy(here.firsts.begin(), here.firsts.end(), firsts.mutable_data_ptr<int64_t>() + first_region[i]);
  }
  return {values, regions, areas, firsts, region_counts};
}

}  // namespace

STADX_CPU_OPERATOR(defect_pixels,
                   "(Tensor[] maps, Tensor[] masks, int connectivity=8) -> "
                   "(Tensor scores, Tensor regions, Tensor areas, Tensor firsts, Tensor counts)")

}  // namespace stadx
