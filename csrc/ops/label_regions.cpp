// stadx::label_regions, and label_regions_out into the caller's labels: schema, allocation, and the CPU
// backend's loop over images.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "ops/kept_memory.h"
#include "ops/label_checks.h"
#include "ops/label_workspace.h"
#include "ops/large_pages.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor label_regions_out_cpu(const Tensor mask, int64_t connectivity, Tensor labels) {
  check_label_regions(mask, connectivity);
  check_labels(mask, labels);
  const int64_t batch = mask.size(0), height = mask.size(1), width = mask.size(2);
  Tensor counts = torch::stable::new_zeros(mask, {batch}, ScalarType::Long);
  if (labels.numel() == 0) return counts;

  const Tensor input = mask.stride(2) == 1 ? mask : torch::stable::contiguous(mask);
  const auto* data = static_cast<const char*>(input.const_data_ptr());
  const int64_t element_size = static_cast<int64_t>(input.element_size());
  int32_t* labels_out = labels.mutable_data_ptr<int32_t>();
  int64_t* counts_out = counts.mutable_data_ptr<int64_t>();
  const auto label = [&](int64_t begin, int64_t end) {
    LabelWorkspace workspace(connectivity == 8);
    for (int64_t b = begin; b < end; ++b) {
      const MaskView view{data + b * input.stride(0) * element_size, height, width, input.stride(1),
                          static_cast<int>(element_size)};
      workspace.label(view);
      workspace.paint(labels_out + b * height * width);
      counts_out[b] = workspace.regions();
    }
  };
  if (batch < torch::stable::get_num_threads()) {
    label(0, batch);  // strips of one image in parallel
  } else {
    torch::stable::parallel_for(0, batch, 1, label);
  }
  return counts;
}

// Labels [B, H, W] of any content, contiguous.
Tensor new_labels(const Tensor& mask) {
  const int64_t bytes = mask.numel() * static_cast<int64_t>(sizeof(int32_t));
  if (KeptBlock* const block = take_block(bytes); block != nullptr) {
    const int64_t height = mask.size(1), width = mask.size(2);
    return torch::stable::from_blob(block->memory, mask.sizes(), {height * width, width, 1}, mask.device(),
                                    ScalarType::Int, [block](void*) { give_back(block); });
  }
  Tensor labels = torch::stable::new_empty(mask, mask.sizes(), ScalarType::Int);
  ask_for_large_pages(labels.mutable_data_ptr(), bytes);
  return labels;
}

std::tuple<Tensor, Tensor> label_regions_cpu(const Tensor mask, int64_t connectivity) {
  check_label_regions(mask, connectivity);
  Tensor labels = new_labels(mask);
  return {labels, label_regions_out_cpu(mask, connectivity, labels)};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("label_regions(Tensor mask, int connectivity=8) -> (Tensor labels, Tensor counts)");
  m.def("label_regions_out(Tensor mask, int connectivity, Tensor(a!) labels) -> Tensor counts");
}

STABLE_TORCH_LIBRARY_IMPL(stadx, CPU, m) {
  m.impl("label_regions", TORCH_BOX(&label_regions_cpu));
  m.impl("label_regions_out", TORCH_BOX(&label_regions_out_cpu));
}

}  // namespace stadx
