// stadx::score_cut on a GPU: checks, allocation, launch.
#include <vector>

#include "ops/score_checks.h"
#include "ops/score_sets_cuda.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor score_cut_cuda(const std::vector<Tensor> scores, int64_t wanted) {
  STD_TORCH_CHECK(!scores.empty(), "score_cut: needs the scores of at least one image");
  check_score_dtype(scores[0], "score_cut: scores");
  check_scores(scores, scores[0], "score_cut", "the dtype of scores 0");
  const cuda::Element element = score_element(scores[0]);
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

}  // namespace

STADX_GPU_LIBRARY(m) { m.impl("score_cut", TORCH_BOX(&score_cut_cuda)); }

}  // namespace stadx
