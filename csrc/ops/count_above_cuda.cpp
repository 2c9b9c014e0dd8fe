// stadx::count_above on a GPU: allocation, launch. Nothing waits for the device, so thresholds that do not
// ascend go unnoticed here.
#include <algorithm>
#include <bit>
#include <tuple>
#include <vector>

#include "ops/score_checks.h"
#include "ops/score_sets_cuda.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

std::tuple<Tensor, Tensor, Tensor> count_above_cuda(const std::vector<Tensor> scores,
                                                    const Tensor thresholds) {
  check_count_above(scores, thresholds);
  const cuda::Element element = score_element(thresholds);
  const int64_t size = thresholds.size(0);
  const GpuScope scope(thresholds);
  const Tensor sorted = torch::stable::contiguous(thresholds);
  Tensor above = torch::stable::new_zeros(thresholds, {size}, ScalarType::Long);
  Tensor equal = torch::stable::new_zeros(thresholds, {size}, ScalarType::Long);
  Tensor nans = torch::stable::new_zeros(thresholds, {static_cast<int64_t>(scores.size())}, ScalarType::Long);
  // Two to four buckets for every threshold: most scores are compared with one or two.
  const int bits = std::clamp(static_cast<int>(std::bit_width(static_cast<uint64_t>(size))) + 1, 4, 22);
  Tensor keys = torch::stable::new_empty(thresholds, {size});
  Tensor start = torch::stable::new_empty(thresholds, {(int64_t{1} << bits) + 1}, ScalarType::Int);
  Tensor chunks = torch::stable::new_empty(thresholds, {cuda::sum_chunks(size)}, ScalarType::Long);
  const cuda::KeyTable table{keys.mutable_data_ptr(), start.mutable_data_ptr<int32_t>(), size, bits};
  int64_t *a = above.mutable_data_ptr<int64_t>(), *e = equal.mutable_data_ptr<int64_t>();
  int64_t* n = nans.mutable_data_ptr<int64_t>();
  cuda::make_key_table(sorted.const_data_ptr(), table, element, scope.stream());
  for_sets(scores, [&](const cuda::ScoreSets& sets, int64_t count) {
    cuda::count_scores(sets, count, table, a, e, n, element, scope.stream());
  });
  cuda::sum_from_above(a, e, size, chunks.mutable_data_ptr<int64_t>(), scope.stream());
  return {above, equal, nans};
}

}  // namespace

STADX_GPU_LIBRARY(m) { m.impl("count_above", TORCH_BOX(&count_above_cuda)); }

}  // namespace stadx
