// stadx::pro_curve: schema, checks, the sort by score, and the sweep that makes the curve.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "cpu/kernels.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The stable interface has no wrapper for sort, so the dispatcher is asked for it by name.
std::tuple<Tensor, Tensor> sort_descending(const Tensor& scores) {
  using torch::stable::detail::from;
  std::array<StableIValue, 3> stack{from(scores), from(int64_t{0}), from(true)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

void check(const Tensor& scores, const Tensor& regions, int64_t num_regions) {
  STD_TORCH_CHECK(scores.dim() == 1 && regions.dim() == 1 && scores.size(0) == regions.size(0),
                  "pro_curve: scores and regions must be [n] of one length");
  STD_TORCH_CHECK(scores.scalar_type() == ScalarType::Float || scores.scalar_type() == ScalarType::Double,
                  "pro_curve: scores must be float32 or float64");
  STD_TORCH_CHECK(regions.scalar_type() == ScalarType::Int, "pro_curve: regions must be int32");
  STD_TORCH_CHECK(num_regions >= 1, "pro_curve: at least one region is needed");
}

std::tuple<Tensor, Tensor, Tensor> pro_curve_cpu(const Tensor scores, const Tensor regions,
                                                 int64_t num_regions, bool drop_collinear) {
  check(scores, regions, num_regions);
  const int64_t size = scores.size(0);
  const Tensor regions_c = torch::stable::contiguous(regions);
  const int32_t* region_of = regions_c.const_data_ptr<int32_t>();
  std::vector<int64_t> region_sizes(num_regions + 1);
  for (int64_t i = 0; i < size; ++i) {
    STD_TORCH_CHECK(region_of[i] >= 0 && region_of[i] <= num_regions, "pro_curve: region ", region_of[i],
                    " is outside 0 … ", num_regions);
    ++region_sizes[region_of[i]];
  }
  STD_TORCH_CHECK(region_sizes[0] > 0, "pro_curve: no background pixel (region 0)");
  for (int64_t r = 1; r <= num_regions; ++r) {
    STD_TORCH_CHECK(region_sizes[r] > 0, "pro_curve: region ", r, " has no pixel");
  }

  auto [sorted, order] = sort_descending(torch::stable::contiguous(scores));
  const bool single = sorted.scalar_type() == ScalarType::Float;
  const double highest =
      single ? static_cast<double>(*sorted.const_data_ptr<float>()) : *sorted.const_data_ptr<double>();
  STD_TORCH_CHECK(!std::isnan(highest), "pro_curve: scores contain NaN");  // NaN sorts first

  std::vector<Tensor> curve;
  for (int i = 0; i < 3; ++i)
    curve.push_back(torch::stable::new_empty(scores, {size + 2}, ScalarType::Double));
  const ProCurveArgs args{sorted.const_data_ptr(),
                          order.const_data_ptr<int64_t>(),
                          region_of,
                          size,
                          region_sizes.data(),
                          num_regions,
                          drop_collinear,
                          curve[0].mutable_data_ptr<double>(),
                          curve[1].mutable_data_ptr<double>(),
                          curve[2].mutable_data_ptr<double>()};
  const int64_t points = single ? kernels().pro_curve_f32(args) : kernels().pro_curve_f64(args);
  for (Tensor& t : curve) t = torch::stable::clone(torch::stable::narrow(t, 0, 0, points));
  return {curve[0], curve[1], curve[2]};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def(
      "pro_curve(Tensor scores, Tensor regions, int num_regions, bool drop_collinear=False) "
      "-> (Tensor fpr, Tensor pro, Tensor thresholds)");
}

STABLE_TORCH_LIBRARY_IMPL(stadx, CPU, m) { m.impl("pro_curve", TORCH_BOX(&pro_curve_cpu)); }

}  // namespace stadx
