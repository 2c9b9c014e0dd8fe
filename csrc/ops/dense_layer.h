// What dense_layer and dense_score share: the checks of a layer, and where its outputs go.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <vector>

#include "cpu/kernels.h"
#include "ops/float_checks.h"
#include "ops/items.h"

namespace stadx {

// `tile` is 0 for a direct convolution. Everything that a kernel relies on is checked here.
inline DenseLayer describe_layer(const torch::stable::Tensor& input, const torch::stable::Tensor& weights,
                                 const torch::stable::Tensor& bias, int64_t kernel, int64_t tile,
                                 int64_t pool_shifts, int64_t step, const std::vector<int64_t>& offset,
                                 const std::vector<int64_t>& size, double slope) {
  check_floats(input, 5, "dense_layer: input");
  check_floats(weights, 5, "dense_layer: weights");
  check_floats(bias, 1, "dense_layer: bias");
  STD_TORCH_CHECK(input.size(0) == input.size(1) && input.size(0) >= 1,
                  "dense_layer: input must be [phases, phases, rows, columns, channels]");
  STD_TORCH_CHECK(offset.size() == 2 && size.size() == 2 && offset[0] >= 0 && offset[1] >= 0 &&
                      size[0] >= 1 && size[1] >= 1,
                  "dense_layer: offset must be two numbers from 0, size two from 1");
  STD_TORCH_CHECK(pool_shifts >= 0 && pool_shifts <= 2, "dense_layer: pool_shifts must be 0, 1 or 2");
  STD_TORCH_CHECK(slope <= 1, "dense_layer: slope must be at most 1");
  const int64_t rows = input.size(2), columns = input.size(3), channels = input.size(4),
                outputs = bias.size(0);
  STD_TORCH_CHECK(outputs >= 1 && outputs % kChannelBlock == 0 &&
                      weights.size(0) == (outputs + kPanel - 1) / kPanel &&
                      weights.size(2) * weights.size(4) == kPanel,
                  "dense_layer: bias and packed weights do not belong together");
  STD_TORCH_CHECK(weights.size(4) == kernels().weight_width,
                  "dense_layer: the weights are packed for another instruction set; pack them again");
  if (tile == 0) {
    STD_TORCH_CHECK(kernel >= 1 && step >= 1 && pool_shifts == 0,
                    "dense_layer: a direct convolution has kernel and step from 1 and no pooling");
    STD_TORCH_CHECK(weights.size(1) == 1 && weights.size(3) == kernel * kernel * channels,
                    "dense_layer: weights are not packed for this kernel and these channels");
    STD_TORCH_CHECK(offset[0] + (size[0] - 1) * step + kernel <= rows &&
                        offset[1] + (size[1] - 1) * step + kernel <= columns,
                    "dense_layer: the input is too small for that size");
  } else {
    STD_TORCH_CHECK((tile == 10 && (kernel == 5 || kernel == 4)) || (tile == 8 && kernel == 2),
                    "dense_layer: Winograd has tile 10 for kernels 5 and 4, and tile 8 for kernel 2");
    STD_TORCH_CHECK(step == 1 && channels % kChannelBlock == 0,
                    "dense_layer: Winograd needs step 1 and channels in multiples of ", kChannelBlock);
    STD_TORCH_CHECK(weights.size(1) == tile * tile && weights.size(3) == channels,
                    "dense_layer: weights are not packed for this tile and these channels");
  }
  DenseLayer layer{};
  layer.input = {input.const_data_ptr<float>(), input.size(0), rows, columns, channels};
  layer.pool_shifts = pool_shifts;
  layer.row_offset = offset[0];
  layer.column_offset = offset[1];
  layer.kernel = kernel;
  layer.step = step;
  layer.weights = weights.const_data_ptr<float>();
  layer.bias = bias.const_data_ptr<float>();
  layer.slope = static_cast<float>(slope);
  layer.out_phases = input.size(0) * (pool_shifts == 0 ? 1 : pool_shifts);
  layer.out_rows = size[0];
  layer.out_columns = size[1];
  layer.out_channels = outputs;
  return layer;
}

// An image in which pixel (a + phases·i, b + phases·j) is output (i, j) of phase (a, b).
inline DenseOutput through_phases(const DenseLayer& layer, const std::vector<int64_t>& image,
                                  int64_t channels, float* data) {
  STD_TORCH_CHECK(image.size() == 2 && image[0] >= 1 && image[1] >= 1 &&
                      image[0] <= layer.out_phases * layer.out_rows &&
                      image[1] <= layer.out_phases * layer.out_columns,
                  "dense_layer: image must be two sizes that the outputs of all phases cover");
  const int64_t row = image[1] * channels;
  return {
      data,     row,     channels, layer.out_phases * row, layer.out_phases * channels, 1, layer.out_phases,
      image[0], image[1]};
}

}  // namespace stadx
