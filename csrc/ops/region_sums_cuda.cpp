// stadx::region_sums on a GPU: checks, allocation, launch.
#include "ops/gpu.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor region_sums_cuda(const Tensor values, const Tensor at, const Tensor region, int64_t regions) {
  STD_TORCH_CHECK(values.dim() == 1 && values.scalar_type() == ScalarType::Long,
                  "region_sums: values must be int64 [E]");
  STD_TORCH_CHECK(at.dim() == 1 && region.dim() == 1 && at.size(0) == region.size(0) &&
                      at.scalar_type() == ScalarType::Int && region.scalar_type() == ScalarType::Int,
                  "region_sums: at and region must be int32 [n]");
  STD_TORCH_CHECK(at.device() == values.device() && region.device() == values.device(),
                  "region_sums: all tensors must be on one device");
  STD_TORCH_CHECK(regions >= 0, "region_sums: regions must be at least 0");
  const GpuScope scope(values);
  Tensor sums = torch::stable::new_zeros(values, {regions});
  if (at.size(0) == 0) return sums;
  const Tensor v = torch::stable::contiguous(values), a = torch::stable::contiguous(at),
               r = torch::stable::contiguous(region);
  cuda::sum_regions(v.const_data_ptr<int64_t>(), a.const_data_ptr<int32_t>(), r.const_data_ptr<int32_t>(),
                    at.size(0), sums.mutable_data_ptr<int64_t>(), scope.stream());
  return sums;
}

}  // namespace

STADX_GPU_LIBRARY(m) { m.impl("region_sums", TORCH_BOX(&region_sums_cuda)); }

}  // namespace stadx
