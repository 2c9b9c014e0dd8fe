// stadx::ensemble_score on a GPU: allocation, launch.
#include "ops/ensemble_score_cuda.h"

#include <tuple>

#include "ops/ensemble_score.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

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
  check_network_count(networks);
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

}  // namespace

STADX_GPU_LIBRARY(m) { m.impl("ensemble_score", TORCH_BOX(&ensemble_score_cuda)); }

}  // namespace stadx
