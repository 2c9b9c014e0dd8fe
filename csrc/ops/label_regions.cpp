// stadx::label_regions: schema, allocation, and the CPU backend's loop over images.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "ops/label_checks.h"
#include "ops/label_workspace.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

std::tuple<Tensor, Tensor> label_regions_cpu(const Tensor mask, int64_t connectivity) {
  check_label_regions(mask, connectivity);
  const int64_t batch = mask.size(0), height = mask.size(1), width = mask.size(2);
  Tensor labels = torch::stable::new_empty(mask, {batch, height, width}, ScalarType::Int);
  Tensor counts = torch::stable::new_zeros(mask, {batch}, ScalarType::Long);
  if (labels.numel() == 0) return {labels, counts};

  const Tensor input = mask.stride(2) == 1 ? mask : torch::stable::contiguous(mask);
  const auto* data = static_cast<const char*>(input.const_data_ptr());
  const int64_t element_size = static_cast<int64_t>(input.element_size());
  int32_t* labels_out = labels.mutable_data_ptr<int32_t>();
  int64_t* counts_out = counts.mutable_data_ptr<int64_t>();
  const auto label = [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const MaskView view{data + b * input.stride(0) * element_size, height, width, input.stride(1),
                          static_cast<int>(element_size)};
      LabelWorkspace workspace(view, connectivity == 8);
      workspace.label();
      workspace.paint(labels_out + b * height * width);
      counts_out[b] = workspace.regions();
    }
  };
  if (batch < torch::stable::get_num_threads()) {
    label(0, batch);  // strips of one image in parallel
  } else {
    torch::stable::parallel_for(0, batch, 1, label);
  }
  return {labels, counts};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("label_regions(Tensor mask, int connectivity=8) -> (Tensor labels, Tensor counts)");
}

STABLE_TORCH_LIBRARY_IMPL(stadx, CPU, m) { m.impl("label_regions", TORCH_BOX(&label_regions_cpu)); }

}  // namespace stadx
