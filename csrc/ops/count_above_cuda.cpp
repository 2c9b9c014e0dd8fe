// stadx::count_above, score_cut and region_sums on a GPU: checks, allocation, launch. Nothing waits for the
// device, so thresholds that do not ascend go unnoticed here.
#include <algorithm>
#include <bit>
#include <tuple>
#include <vector>

#include "ops/gpu.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

cuda::Element score_element(const Tensor& t, const char* what) {
  const ScalarType dtype = t.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, what,
                  " must be float32 or float64");
  return dtype == ScalarType::Float ? cuda::Element::float32 : cuda::Element::float64;
}

// Calls use(sets, count) for all scores, as many at a time as a kernel takes.
template <typename Use>
void for_sets(const std::vector<Tensor>& scores, const Use& use) {
  for (size_t begin = 0; begin < scores.size(); begin += cuda::kScoreSets) {
    const size_t count = std::min<size_t>(cuda::kScoreSets, scores.size() - begin);
    cuda::ScoreSets sets{};
    sets.first = static_cast<int64_t>(begin);
    for (size_t i = 0; i < count; ++i) {
      sets.data[i] = scores[begin + i].const_data_ptr();
      sets.size[i] = scores[begin + i].numel();
    }
    use(sets, static_cast<int64_t>(count));
  }
}

void check_scores(const std::vector<Tensor>& scores, const Tensor& like, const char* name) {
  for (size_t i = 0; i < scores.size(); ++i) {
    STD_TORCH_CHECK(scores[i].scalar_type() == like.scalar_type(), name, ": scores ", i,
                    " must have the thresholds' dtype");
    STD_TORCH_CHECK(scores[i].is_contiguous(), name, ": scores ", i, " must be contiguous");
    STD_TORCH_CHECK(scores[i].device() == like.device(), name, ": scores ", i, " must be on the same device");
  }
}

std::tuple<Tensor, Tensor, Tensor> count_above_cuda(const std::vector<Tensor> scores,
                                                    const Tensor thresholds) {
  const cuda::Element element = score_element(thresholds, "count_above: thresholds");
  STD_TORCH_CHECK(thresholds.dim() == 1 && thresholds.size(0) >= 1 && thresholds.size(0) < int64_t{1} << 31,
                  "count_above: thresholds must be [E] with 1 ≤ E < 2^31");
  check_scores(scores, thresholds, "count_above");
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

Tensor score_cut_cuda(const std::vector<Tensor> scores, int64_t wanted) {
  STD_TORCH_CHECK(!scores.empty(), "score_cut: needs the scores of at least one image");
  const cuda::Element element = score_element(scores[0], "score_cut: scores");
  check_scores(scores, scores[0], "score_cut");
  const GpuScope scope(scores[0]);
  Tensor cut = torch::stable::new_empty(scores[0], {1});
  Tensor bins = torch::stable::new_zeros(scores[0], {cuda::kCutBins}, ScalarType::Long);
  int64_t* b = bins.mutable_data_ptr<int64_t>();
  for_sets(scores, [&](const cuda::ScoreSets& sets, int64_t count) {
    cuda::count_bins(sets, count, b, element, scope.stream());
  });
  cuda::choose_cut(b, wanted, cut.mutable_data_ptr(), element, scope.stream());
  return cut;
}

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

STADX_GPU_LIBRARY(m) {
  m.impl("count_above", TORCH_BOX(&count_above_cuda));
  m.impl("score_cut", TORCH_BOX(&score_cut_cuda));
  m.impl("region_sums", TORCH_BOX(&region_sums_cuda));
}

}  // namespace stadx
