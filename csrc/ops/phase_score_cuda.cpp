// stadx::phase_score on a GPU: checks, launch.
#include <vector>

#include "ops/ensemble_score_cuda.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void phase_score_cuda(const std::vector<Tensor> maps, const Tensor bias, const Tensor mean,
                      const Tensor std_dev, double slope, int64_t pools,
                      const std::vector<double> normalization, double weight, bool add, Tensor out) {
  const int64_t networks = static_cast<int64_t>(maps.size());
  STD_TORCH_CHECK(networks >= 2, "phase_score: needs maps of the teacher and of at least one student");
  check_network_count(networks);
  STD_TORCH_CHECK(pools >= 0 && pools <= 3, "phase_score: pools must be 0 to 3, but is ", pools);
  STD_TORCH_CHECK(normalization.size() == 4,
                  "phase_score: normalization must be e_mean, e_std, v_mean, v_std");
  const Tensor& first = maps[0];
  STD_TORCH_CHECK(first.dim() == 4, "phase_score: maps must be [phases B, d, h, w]");
  const cuda::Element element = map_element(first, "phase_score: maps");
  const int64_t phases = int64_t{1} << (2 * pools), channels = first.size(1);
  for (const Tensor& t : maps) {
    bool same = t.dim() == 4 && t.scalar_type() == first.scalar_type() && t.device() == first.device();
    for (int64_t d = 0; same && d < 4; ++d)
      same = t.size(d) == first.size(d) && t.stride(d) == first.stride(d);
    STD_TORCH_CHECK(same, "phase_score: all maps must be alike in shape, strides, dtype and device");
  }
  STD_TORCH_CHECK(is_innermost(first, 1), "phase_score: maps must have their channels innermost");
  STD_TORCH_CHECK(out.dim() == 3 && out.scalar_type() == ScalarType::Float && out.is_contiguous() &&
                      out.device() == first.device(),
                  "phase_score: out must be contiguous float32 [B, H, W] on the same device");
  const int64_t side = int64_t{1} << pools;
  STD_TORCH_CHECK(first.size(0) == phases * out.size(0) && first.size(2) * side >= out.size(1) &&
                      first.size(3) * side >= out.size(2),
                  "phase_score: maps of ", first.size(0), " phases and images do not cover out");
  for (const Tensor* t : {&mean, &std_dev}) {
    STD_TORCH_CHECK(t->dim() == 1 && t->size(0) == channels && t->scalar_type() == ScalarType::Float &&
                        t->device() == first.device(),
                    "phase_score: mean and std must be float32 [d] with d = ", channels);
  }
  STD_TORCH_CHECK(bias.dim() == 2 && bias.size(0) == networks && bias.size(1) == channels &&
                      bias.scalar_type() == ScalarType::Float && bias.device() == first.device(),
                  "phase_score: bias must be float32 [networks, d]");
  if (out.numel() == 0) return;
  const GpuScope scope(first);
  const Tensor bias_c = torch::stable::contiguous(bias), mean_c = torch::stable::contiguous(mean),
               std_c = torch::stable::contiguous(std_dev);
  cuda::PhaseScoreArgs args{};
  const int64_t size = static_cast<int64_t>(first.element_size());
  bool wide = is_wide(channels * size) && is_wide(bias_c.const_data_ptr()) &&
              is_wide(mean_c.const_data_ptr()) && is_wide(std_c.const_data_ptr());
  for (int64_t i = 0; i < networks; ++i) {
    args.in.maps[i] = maps[static_cast<size_t>(i)].const_data_ptr();
    wide = wide && is_wide(args.in.maps[i]);
  }
  args.in.bias = bias_c.const_data_ptr<float>();
  args.in.mean = mean_c.const_data_ptr<float>();
  args.in.std_dev = std_c.const_data_ptr<float>();
  args.in.channels = channels;
  args.in.students = static_cast<int32_t>(networks - 1);
  args.in.slope = static_cast<float>(slope);
  args.out.map = out.mutable_data_ptr<float>();
  args.out.e_mean = static_cast<float>(normalization[0]);
  args.out.e_std = static_cast<float>(normalization[1]);
  args.out.v_mean = static_cast<float>(normalization[2]);
  args.out.v_std = static_cast<float>(normalization[3]);
  args.out.weight = static_cast<float>(weight);
  args.out.add = add;
  args.batch = out.size(0);
  args.height = out.size(1);
  args.width = out.size(2);
  args.pools = static_cast<int32_t>(pools);
  for (int k = 0; k < 2; ++k) {
    args.batch_stride[k] = first.stride(0);
    args.row_stride[k] = first.stride(2);
    args.pixel_stride[k] = first.stride(3);
  }
  wide = wide && is_wide(first.stride(0) * size) && is_wide(first.stride(2) * size) &&
         is_wide(first.stride(3) * size);
  cuda::phase_score(args, element, wide, scope.stream());
}

}  // namespace

STADX_GPU_LIBRARY(m) { m.impl("phase_score", TORCH_BOX(&phase_score_cuda)); }

}  // namespace stadx
