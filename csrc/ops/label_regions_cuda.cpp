// stadx::label_regions on a GPU: allocation, launch.
#include <algorithm>
#include <tuple>

#include "ops/label_checks.h"
#include "ops/label_workspace_cuda.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor label_regions_out_cuda(const Tensor mask, int64_t connectivity, Tensor labels) {
  check_label_regions(mask, connectivity);
  check_labels(mask, labels);
  const int64_t batch = mask.size(0), height = mask.size(1), width = mask.size(2);
  const GpuScope scope(mask);
  if (labels.numel() == 0) return torch::stable::new_zeros(mask, {batch}, ScalarType::Long);
  Tensor counts = torch::stable::new_empty(mask, {batch}, ScalarType::Long);

  const Tensor input = mask.stride(2) == 1 ? mask : torch::stable::contiguous(mask);
  const auto* data = static_cast<const char*>(input.const_data_ptr());
  const int64_t element_size = static_cast<int64_t>(input.element_size());
  // Images that share the memory of those before them, which are done by then.
  const int64_t together = std::min<int64_t>(batch, cuda::kLabelImages);
  GpuLabelWorkspace workspace(connectivity);
  cuda::LabelTable table{};
  for (int64_t i = 0; i < together; ++i) {
    table.images[i] = image_of(nullptr, height, width, input.stride(1), element_size, 0);
    workspace.add(table.images[i]);
  }
  cuda::LabelWork work = workspace.allocate(mask, false);
  work.regions = counts.mutable_data_ptr<int64_t>();
  for (int64_t begin = 0; begin < batch; begin += together) {
    const int64_t count = std::min(together, batch - begin);
    for (int64_t i = 0; i < count; ++i) {
      cuda::GpuLabelImage& image = table.images[i];
      image.mask = data + (begin + i) * input.stride(0) * element_size;
      image.number = static_cast<int32_t>(begin + i);
      image.first_pixel = (begin + i) * height * width;
    }
    cuda::find_regions(table, count, work, connectivity, scope.stream());
    cuda::paint_labels(table, count, work, connectivity, labels.mutable_data_ptr<int32_t>(), scope.stream());
  }
  return counts;
}

std::tuple<Tensor, Tensor> label_regions_cuda(const Tensor mask, int64_t connectivity) {
  check_label_regions(mask, connectivity);
  Tensor labels = torch::stable::new_empty(mask, mask.sizes(), ScalarType::Int);
  return {labels, label_regions_out_cuda(mask, connectivity, labels)};
}

}  // namespace

STADX_GPU_LIBRARY(m) {
  m.impl("label_regions", TORCH_BOX(&label_regions_cuda));
  m.impl("label_regions_out", TORCH_BOX(&label_regions_out_cuda));
}

}  // namespace stadx
