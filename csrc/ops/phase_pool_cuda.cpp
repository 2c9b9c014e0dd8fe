// stadx::phase_pool on a GPU: checks, allocation, launch.
#include "ops/gpu.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor phase_pool_cuda(const Tensor x, const Tensor bias, double slope, int64_t shifts) {
  STD_TORCH_CHECK(x.dim() == 4, "phase_pool: x must be [B, C, H, W], but has ", x.dim(), " dimensions");
  STD_TORCH_CHECK(shifts >= 0 && shifts <= 2, "phase_pool: shifts must be 0, 1 or 2, but is ", shifts);
  const cuda::Element element = map_element(x, "phase_pool: x");
  const int64_t batch = x.size(0), channels = x.size(1);
  STD_TORCH_CHECK(bias.dim() == 1 && bias.size(0) == channels && bias.scalar_type() == ScalarType::Float,
                  "phase_pool: bias must be float32 [C] with C = ", channels);
  STD_TORCH_CHECK(bias.device() == x.device(), "phase_pool: x and bias must be on one device");
  const auto pooled = [&](int64_t size) {
    return shifts == 0 ? size : shifts == 1 ? size / 2 : (size - 1) / 2;
  };
  const int64_t rows = x.size(2) == 0 ? 0 : pooled(x.size(2)),
                columns = x.size(3) == 0 ? 0 : pooled(x.size(3));
  const GpuScope scope(x);
  const int64_t phases = shifts == 2 ? 4 : 1;
  const Tensor out = torch::stable::new_empty(x, {phases * batch, rows, columns, channels});
  const Tensor result =
      torch::stable::transpose(torch::stable::transpose(out, 1, 3), 2, 3);  // [.., C, rows, columns]
  if (out.numel() == 0) return result;

  // Only channels have to lie side by side, so a slice of another convolution's channels is read in place.
  const auto channels_inside = [](const Tensor& t) { return t.size(1) == 1 || t.stride(1) == 1; };
  Tensor input = x;
  if (!channels_inside(x)) {
    const Tensor last =
        torch::stable::contiguous(torch::stable::transpose(torch::stable::transpose(x, 1, 2), 2, 3));
    input = torch::stable::transpose(torch::stable::transpose(last, 1, 3), 2, 3);
  }
  const Tensor bias_c = torch::stable::contiguous(bias);
  cuda::PhasePoolArgs args{};
  args.x = input.const_data_ptr();
  args.bias = bias_c.const_data_ptr<float>();
  args.out = out.mutable_data_ptr();
  args.batch = batch;
  args.rows = rows;
  args.columns = columns;
  args.channels = channels;
  args.batch_stride = input.stride(0);
  args.row_stride = input.stride(2);
  args.pixel_stride = input.stride(3);
  args.slope = static_cast<float>(slope);
  const int64_t size = static_cast<int64_t>(x.element_size());
  const bool wide = is_wide(args.x) && is_wide(channels * size) && is_wide(args.pixel_stride * size) &&
                    is_wide(args.row_stride * size) && is_wide(args.batch_stride * size);
  cuda::phase_pool(args, element, static_cast<int>(shifts), wide, scope.stream());
  return result;
}

}  // namespace

STADX_GPU_LIBRARY(m) { m.impl("phase_pool", TORCH_BOX(&phase_pool_cuda)); }

}  // namespace stadx
