// stadx::label_regions: schema, checks, allocation, and the CPU backend's loop over images.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <limits>
#include <tuple>
#include <vector>

#include "cpu/kernels.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

bool is_integer(ScalarType dtype) {
  return dtype == ScalarType::Bool || dtype == ScalarType::Byte || dtype == ScalarType::Char ||
         dtype == ScalarType::Short || dtype == ScalarType::Int || dtype == ScalarType::Long ||
         dtype == ScalarType::UInt16 || dtype == ScalarType::UInt32 || dtype == ScalarType::UInt64;
}

void check(const Tensor& mask, int64_t connectivity) {
  STD_TORCH_CHECK(mask.dim() == 3, "label_regions: mask must be [B, H, W], but has ", mask.dim(),
                  " dimensions");
  STD_TORCH_CHECK(is_integer(mask.scalar_type()), "label_regions: mask must be bool or integer");
  STD_TORCH_CHECK(connectivity == 4 || connectivity == 8,
                  "label_regions: connectivity must be 4 or 8, but is ", connectivity);
  constexpr int64_t limit = std::numeric_limits<int32_t>::max() - 64;
  STD_TORCH_CHECK(mask.size(1) == 0 || mask.size(2) <= limit / mask.size(1), "label_regions: an image of ",
                  mask.size(1), " x ", mask.size(2),
                  " pixels has more than the 2^31 that int32 labels can number");
}

std::tuple<Tensor, Tensor> label_regions_cpu(const Tensor mask, int64_t connectivity) {
  check(mask, connectivity);
  const int64_t batch = mask.size(0), height = mask.size(1), width = mask.size(2);
  Tensor labels = torch::stable::new_empty(mask, {batch, height, width}, ScalarType::Int);
  Tensor counts = torch::stable::new_zeros(mask, {batch}, ScalarType::Long);
  if (labels.numel() == 0) return {labels, counts};

  const Tensor input = mask.stride(2) == 1 ? mask : torch::stable::contiguous(mask);
  const auto* data = static_cast<const char*>(input.const_data_ptr());
  const int64_t element_size = static_cast<int64_t>(input.element_size());
  int32_t* labels_out = labels.mutable_data_ptr<int32_t>();
  int64_t* counts_out = counts.mutable_data_ptr<int64_t>();
  const int64_t batch_stride = input.stride(0), row_stride = input.stride(1);
  const KernelTable& table = kernels();
  torch::stable::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    std::vector<Run> runs;
    std::vector<int64_t> row_begin(height + 1);
    for (int64_t b = begin; b < end; ++b) {
      const MaskView view{data + b * batch_stride * element_size, height, width, row_stride,
                          static_cast<int>(element_size)};
      runs.resize(table.count_runs(view));
      counts_out[b] = table.label_regions(view, connectivity == 8, runs.data(), row_begin.data(),
                                          labels_out + b * height * width);
    }
  });
  return {labels, counts};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("label_regions(Tensor mask, int connectivity=8) -> (Tensor labels, Tensor counts)");
}

STABLE_TORCH_LIBRARY_IMPL(stadx, CPU, m) { m.impl("label_regions", TORCH_BOX(&label_regions_cpu)); }

}  // namespace stadx
