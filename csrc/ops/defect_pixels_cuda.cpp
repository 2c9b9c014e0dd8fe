// stadx::defect_pixels on a GPU: allocation, launch.
#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "ops/label_checks.h"
#include "ops/label_workspace_cuda.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Calls use(table, count) for all images, as many at a time as a kernel takes.
template <typename Use>
void for_tables(const std::vector<cuda::GpuLabelImage>& images, const Use& use) {
  for (size_t begin = 0; begin < images.size(); begin += cuda::kLabelImages) {
    const size_t count = std::min<size_t>(cuda::kLabelImages, images.size() - begin);
    cuda::LabelTable table{};
    std::copy_n(images.begin() + static_cast<int64_t>(begin), count, table.images);
    use(table, static_cast<int64_t>(count));
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> defect_pixels_cuda(const std::vector<Tensor> maps,
                                                                      const std::vector<Tensor> masks,
                                                                      int64_t connectivity) {
  check_defect_pixels(maps, masks, connectivity);
  const int64_t count = static_cast<int64_t>(maps.size());
  std::vector<Tensor> scores, truth;  // keep copies alive
  std::vector<cuda::GpuLabelImage> images;
  GpuLabelWorkspace workspace(connectivity);
  const GpuScope scope(maps[0]);
  for (int64_t i = 0; i < count; ++i) {
    const Tensor &map = maps[static_cast<size_t>(i)], &mask = masks[static_cast<size_t>(i)];
    STD_TORCH_CHECK(map.device() == maps[0].device() && mask.device() == maps[0].device(),
                    "defect_pixels: map and mask ", i, " must be on the device of map 0");
    scores.push_back(map.stride(1) == 1 ? map : torch::stable::contiguous(map));
    truth.push_back(mask.stride(1) == 1 ? mask : torch::stable::contiguous(mask));
    images.push_back(image_of(truth.back().const_data_ptr(), mask.size(0), mask.size(1),
                              truth.back().stride(0), static_cast<int64_t>(mask.element_size()), i));
    images.back().map = scores.back().const_data_ptr();
    images.back().map_stride = scores.back().stride(0);
    workspace.add(images.back());
  }
  Tensor totals = torch::stable::new_empty(maps[0], {2, count}, ScalarType::Long);
  cuda::LabelWork work = workspace.allocate(maps[0], true);
  work.regions = totals.mutable_data_ptr<int64_t>();
  work.pixels = work.regions + count;
  for_tables(images, [&](const cuda::LabelTable& table, int64_t some) {
    cuda::find_regions(table, some, work, connectivity, scope.stream());
  });

  // The sizes of the results are known only now: the one wait for the device.
  const Tensor on_host = torch::stable::to(totals, torch::stable::Device(torch::headeronly::DeviceType::CPU));
  const int64_t* found = on_host.const_data_ptr<int64_t>();
  int64_t pixels = 0, regions = 0;
  std::vector<cuda::GpuLabelImage> with_defects;
  for (int64_t i = 0; i < count; ++i) {
    cuda::GpuLabelImage& image = images[static_cast<size_t>(i)];
    image.first_pixel = pixels;
    image.first_region = regions;
    regions += found[i];
    pixels += found[count + i];
    if (found[i] > 0) with_defects.push_back(image);
  }
  STD_TORCH_CHECK(regions < std::numeric_limits<int32_t>::max(),
                  "defect_pixels: more regions than int32 can number");
  Tensor values = torch::stable::new_empty(maps[0], {pixels});
  Tensor region_of = torch::stable::new_empty(maps[0], {pixels}, ScalarType::Int);
  Tensor areas = torch::stable::new_empty(maps[0], {regions}, ScalarType::Long);
  Tensor firsts = torch::stable::new_empty(maps[0], {regions}, ScalarType::Long);
  for_tables(with_defects, [&](const cuda::LabelTable& table, int64_t some) {
    cuda::gather_pixels(table, some, work, connectivity, values.mutable_data_ptr(),
                        static_cast<int64_t>(maps[0].element_size()), region_of.mutable_data_ptr<int32_t>(),
                        areas.mutable_data_ptr<int64_t>(), firsts.mutable_data_ptr<int64_t>(),
                        scope.stream());
  });
  return {values, region_of, areas, firsts, torch::stable::select(totals, 0, 0)};
}

}  // namespace

STADX_GPU_LIBRARY(m) { m.impl("defect_pixels", TORCH_BOX(&defect_pixels_cuda)); }

}  // namespace stadx
