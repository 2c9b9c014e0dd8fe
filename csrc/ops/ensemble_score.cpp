// stadx::ensemble_score: schema, checks, allocation, and the CPU backend's loop over blocks.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <tuple>

#include "cpu/kernels.h"
#include "ops/ensemble_score.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The last four dimensions [B, d, H, W] of a tensor; a dimension of size 1 may have any stride.
MapView view_of(const Tensor& t) {
  const int64_t first = t.dim() - 4;
  return {t.const_data_ptr(), t.stride(first), t.stride(first + 1), t.stride(first + 2), t.stride(first + 3)};
}

bool rows_join(const MapView& map, int64_t width) { return map.row_stride == width * map.pixel_stride; }

std::tuple<Tensor, Tensor> ensemble_score_cpu(const Tensor students, const Tensor teacher, const Tensor mean,
                                              const Tensor std_dev) {
  check_ensemble(students, teacher, mean, std_dev);
  STD_TORCH_CHECK(teacher.scalar_type() == ScalarType::Float || teacher.scalar_type() == ScalarType::BFloat16,
                  "ensemble_score: teacher must be float32 or bfloat16");
  const int64_t batch = teacher.size(0), height = teacher.size(2), width = teacher.size(3);
  Tensor error = torch::stable::new_empty(teacher, {batch, height, width}, ScalarType::Float);
  Tensor variance = torch::stable::new_empty(teacher, {batch, height, width}, ScalarType::Float);
  if (error.numel() == 0) return {error, variance};

  const Tensor mean_c = torch::stable::contiguous(mean), std_c = torch::stable::contiguous(std_dev);
  Tensor students_k = students, teacher_k = teacher;
  EnsembleScoreArgs args{};
  const auto describe = [&] {
    args.students = view_of(students_k);
    args.student_stride = students_k.stride(0);
    args.teacher = view_of(teacher_k);
    args.rows = height;
    args.width = width;
    for (MapView* map : {&args.students, &args.teacher}) {
      // The stride of a dimension of size 1 is arbitrary: give it the value that a contiguous map has.
      if (width == 1) map->pixel_stride = height == 1 ? 1 : map->row_stride;
      if (width == 1 || height == 1) map->row_stride = width * map->pixel_stride;
      if (teacher_k.size(1) == 1) map->channel_stride = 1;
    }
    if (rows_join(args.students, width) && rows_join(args.teacher, width)) {  // one long row instead of many
      args.rows = 1;
      args.width = height * width;
    }
  };
  describe();
  bool planar = args.students.pixel_stride == 1 && args.teacher.pixel_stride == 1;
  bool channels_last = args.students.channel_stride == 1 && args.teacher.channel_stride == 1;
  if (!planar && !channels_last) {  // transposed, expanded or mixed layouts: the only case that copies
    students_k = torch::stable::contiguous(students);
    teacher_k = torch::stable::contiguous(teacher);
    describe();
    planar = true;
  }
  args.num_students = students.size(0);
  args.mean = mean_c.const_data_ptr<float>();
  args.std_dev = std_c.const_data_ptr<float>();
  args.channels = teacher.size(1);
  args.error = error.mutable_data_ptr<float>();
  args.variance = variance.mutable_data_ptr<float>();

  const bool half = teacher.scalar_type() == ScalarType::BFloat16;
  const KernelTable& table = kernels();
  const auto kernel =
      planar ? (half ? table.ensemble_score_planar_bf16 : table.ensemble_score_planar_f32)
             : (half ? table.ensemble_score_channels_last_bf16 : table.ensemble_score_channels_last_f32);
  // The grid of blocks does not depend on the number of threads, so neither do the results.
  const int64_t blocks = (args.width + kScoreBlock - 1) / kScoreBlock;
  torch::stable::parallel_for(0, batch * args.rows * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      kernel(args, i / (args.rows * blocks), i / blocks % args.rows, i % blocks);
    }
  });
  return {error, variance};
}

}  // namespace

STADX_CPU_OPERATOR(ensemble_score,
                   "(Tensor students, Tensor teacher, Tensor mean, Tensor std) -> (Tensor e, Tensor v)")

}  // namespace stadx
