// stadx::region_sums: schema, and the CPU backend: one pass over the pixels.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "ops/operator.h"
#include "ops/score_checks.h"

namespace stadx {
namespace {

using torch::stable::Tensor;

Tensor region_sums_cpu(const Tensor values, const Tensor at, const Tensor region, int64_t regions) {
  check_region_sums(values, at, region, regions);
  Tensor sums = torch::stable::new_zeros(values, {regions});
  const Tensor v = torch::stable::contiguous(values), a = torch::stable::contiguous(at),
               r = torch::stable::contiguous(region);
  const int64_t* value = v.const_data_ptr<int64_t>();
  const int32_t *index = a.const_data_ptr<int32_t>(), *of = r.const_data_ptr<int32_t>();
  int64_t* out = sums.mutable_data_ptr<int64_t>();
  const uint64_t most = static_cast<uint64_t>(v.size(0)), many = static_cast<uint64_t>(regions);
  const int64_t pixels = a.size(0);
  for (int64_t i = 0; i < pixels; ++i) {
    const uint64_t k = static_cast<uint64_t>(index[i]), into = static_cast<uint64_t>(of[i]);
    STD_TORCH_CHECK(k < most && into < many, "region_sums: pixel ", i, " has value ", index[i], " of ", most,
                    " and region ", of[i], " of ", many);
    out[into] += value[k];
  }
  return sums;
}

}  // namespace

STADX_CPU_OPERATOR(region_sums, "(Tensor values, Tensor at, Tensor region, int regions) -> Tensor")

}  // namespace stadx
