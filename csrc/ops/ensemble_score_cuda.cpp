// stadx::ensemble_score and stadx::phase_score on a GPU: checks, allocation, launch.
#include <tuple>
#include <vector>

#include "ops/ensemble_score.h"
#include "ops/gpu.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_count(int64_t networks) {
  STD_TORCH_CHECK(networks <= cuda::kMaxNetworks, "ensemble_score: at most ", cuda::kMaxNetworks - 1,
                  " students on a GPU, but there are ", networks - 1);
}

// Whether a dimension's stride is 1, or of no matter.
bool is_innermost(const Tensor& t, int64_t dim) { return t.size(dim) == 1 || t.stride(dim) == 1; }

bool rows_join(const Tensor& t, int64_t row, int64_t column) {
  return t.size(row) == 1 || t.stride(row) == t.size(column) * (t.size(column) == 1 ? 1 : t.stride(column)) ||
         (t.size(column) == 1 && t.stride(row) == 1);
}

std::tuple<Tensor, Tensor> ensemble_score_cuda(const Tensor students, const Tensor teacher, const Tensor mean,
                                               const Tensor std_dev) {
  check_ensemble(students, teacher, mean, std_dev);
  const cuda::Element element = map_element(teacher, "ensemble_score: teacher");
  const int64_t networks = students.size(0) + 1, batch = teacher.size(0), channels = teacher.size(1),
                height = teacher.size(2), width = teacher.size(3);
  check_count(networks);
  const GpuScope scope(teacher);
  Tensor error = torch::stable::new_empty(teacher, {batch, height, width}, ScalarType::Float);
  Tensor variance = torch::stable::new_empty(teacher, {batch, height, width}, ScalarType::Float);
  if (error.numel() == 0) return {error, variance};

  const Tensor mean_c = torch::stable::contiguous(mean), std_c = torch::stable::contiguous(std_dev);
  cuda::ScoreInput in{};
  in.mean = mean_c.const_data_ptr<float>();
  in.std_dev = std_c.const_data_ptr<float>();
  in.channels = channels;
  in.students = static_cast<int32_t>(networks - 1);
  in.slope = 1.0f;
  cuda::ScoreOutput out{};
  out.error = error.mutable_data_ptr<float>();
  out.variance = variance.mutable_data_ptr<float>();

  const int64_t size = static_cast<int64_t>(teacher.element_size());
  Tensor used_students = students, used_teacher = teacher;
  const auto point = [&] {
    in.maps[0] = used_teacher.const_data_ptr();
    const auto* first = static_cast<const char*>(used_students.const_data_ptr());
    for (int64_t i = 1; i < networks; ++i) in.maps[i] = first + (i - 1) * used_students.stride(0) * size;
    return is_wide(in.maps[0]) && is_wide(first) &&
           (networks == 2 || is_wide(used_students.stride(0) * size));
  };
  bool wide = point();
  if (is_innermost(teacher, 1) && is_innermost(students, 2)) {
    cuda::PhaseScoreArgs args{in, out, batch, height, width, {}, {}, {}, 0};
    wide = wide && is_wide(channels * size) && is_wide(in.mean) && is_wide(in.std_dev);
    for (int k = 0; k < 2; ++k) {
      const Tensor& t = k == 0 ? teacher : students;
      const int64_t first = t.dim() - 4;
      args.batch_stride[k] = t.stride(first);
      args.row_stride[k] = t.stride(first + 2);
      args.pixel_stride[k] = t.stride(first + 3);
      wide = wide && is_wide(args.batch_stride[k] * size) && is_wide(args.row_stride[k] * size) &&
             is_wide(args.pixel_stride[k] * size);
    }
    cuda::phase_score(args, element, wide, scope.stream());
    return {error, variance};
  }
  const bool planar = is_innermost(teacher, 3) && is_innermost(students, 4) && rows_join(teacher, 2, 3) &&
                      rows_join(students, 3, 4);
  if (!planar) {  // transposed, expanded, cut out or mixed: the only case that copies
    used_students = torch::stable::contiguous(students);
    used_teacher = torch::stable::contiguous(teacher);
    wide = point();
  }
  cuda::PlanarScoreArgs args{in, out, batch, height * width, {}, {}};
  wide = wide && is_wide(args.pixels * size);
  for (int k = 0; k < 2; ++k) {
    const Tensor& t = k == 0 ? used_teacher : used_students;
    const int64_t first = t.dim() - 4;
    args.batch_stride[k] = t.stride(first);
    args.channel_stride[k] = t.stride(first + 1);
    wide = wide && is_wide(args.batch_stride[k] * size) && is_wide(args.channel_stride[k] * size);
  }
  cuda::planar_score(args, element, wide, scope.stream());
  return {error, variance};
}

void phase_score_cuda(const std::vector<Tensor> maps, const Tensor bias, const Tensor mean,
                      const Tensor std_dev, double slope, int64_t pools,
                      const std::vector<double> normalization, double weight, bool add, Tensor out) {
  const int64_t networks = static_cast<int64_t>(maps.size());
  STD_TORCH_CHECK(networks >= 2, "phase_score: needs maps of the teacher and of at least one student");
  check_count(networks);
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

STADX_GPU_LIBRARY(m) {
  m.impl("ensemble_score", TORCH_BOX(&ensemble_score_cuda));
  m.impl("phase_score", TORCH_BOX(&phase_score_cuda));
}

}  // namespace stadx
