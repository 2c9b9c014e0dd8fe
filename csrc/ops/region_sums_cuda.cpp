// stadx::region_sums on a GPU: checks, allocation, launch.
#include "ops/gpu.h"
#include "ops/score_checks.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor region_sums_cuda(const Tensor values, const Tensor at, const Tensor region, int64_t regions) {
  check_region_sums(values, at, region, regions);
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
