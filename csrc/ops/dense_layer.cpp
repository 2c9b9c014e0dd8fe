// stadx::dense_layer and stadx::dense_score: one convolution of a patch network over all phases of an image,
// to a map or, for the last one of teacher and students together, to the ensemble score.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <tuple>
#include <vector>

#include "cpu/kernels.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

// Kernels stream whole cache lines.
bool is_aligned(const float* p) { return reinterpret_cast<uintptr_t>(p) % 64 == 0; }

void check_float(const Tensor& t, int64_t dims, const char* name) {
  STD_TORCH_CHECK(t.dim() == dims && t.scalar_type() == ScalarType::Float && t.is_contiguous(),
                  "dense_layer: ", name, " must be a contiguous float32 tensor of ", dims, " dimensions");
}

// `tile` is 0 for a direct convolution. Everything that a kernel relies on is checked here.
DenseLayer describe(const Tensor& input, const Tensor& weights, const Tensor& bias, int64_t kernel,
                    int64_t tile, int64_t pool_shifts, int64_t step, const Sizes& offset, const Sizes& size,
                    double slope) {
  check_float(input, 5, "input");
  check_float(weights, 5, "weights");
  check_float(bias, 1, "bias");
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
DenseOutput through_phases(const DenseLayer& layer, const Sizes& image, int64_t channels, float* data) {
  STD_TORCH_CHECK(image.size() == 2 && image[0] >= 1 && image[1] >= 1 &&
                      image[0] <= layer.out_phases * layer.out_rows &&
                      image[1] <= layer.out_phases * layer.out_columns,
                  "dense_layer: image must be two sizes that the outputs of all phases cover");
  const int64_t row = image[1] * channels;
  return {
      data,     row,     channels, layer.out_phases * row, layer.out_phases * channels, 1, layer.out_phases,
      image[0], image[1]};
}

// Calls work(item, scratch) for every item, whichever thread is free taking the next: items differ in cost.
template <typename Work>
void for_each_item(int64_t items, int64_t scratch_floats, const Work& work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  torch::stable::parallel_for(0, torch::stable::get_num_threads(), 1, [&](int64_t, int64_t) {
    const size_t bytes = (static_cast<size_t>(scratch_floats) * sizeof(float) + 63) / 64 * 64;
    const std::unique_ptr<void, decltype(&std::free)> scratch(bytes ? std::aligned_alloc(64, bytes) : nullptr,
                                                              &std::free);
    if (bytes != 0 && scratch == nullptr) {
      failed = true;
      return;
    }
    for (int64_t i = next++; i < items; i = next++) work(i, static_cast<float*>(scratch.get()));
  });
  STD_TORCH_CHECK(!failed, "dense_layer: can't allocate memory: a scratch buffer of ", scratch_floats,
                  " floats");
}

void dense_layer_cpu(const Tensor input, const Tensor weights, const Tensor bias, int64_t kernel,
                     int64_t tile, int64_t pool_shifts, int64_t step, const Sizes offset, const Sizes size,
                     double slope, const Sizes image, Tensor output) {
  const DenseLayer layer =
      describe(input, weights, bias, kernel, tile, pool_shifts, step, offset, size, slope);
  const int64_t phases = layer.out_phases, channels = layer.out_channels;
  DenseOutput out{};
  Sizes shape{phases, phases, size[0], size[1], channels};
  if (image.empty()) {
    const int64_t row = size[1] * channels, map = size[0] * row;
    out = {nullptr, phases * map, map, row, channels, 0, 1, size[0], size[1]};
  } else {
    out = through_phases(layer, image, channels, nullptr);
    shape = {image[0], image[1], channels};
  }
  check_float(output, static_cast<int64_t>(shape.size()), "out");
  for (size_t i = 0; i < shape.size(); ++i) {
    STD_TORCH_CHECK(output.size(static_cast<int64_t>(i)) == shape[i], "dense_layer: out has size ",
                    output.size(static_cast<int64_t>(i)), " in dimension ", i, ", expected ", shape[i]);
  }
  out.data = output.mutable_data_ptr<float>();
  STD_TORCH_CHECK(is_aligned(out.data), "dense_layer: out must begin at a multiple of 64 bytes");
  const KernelTable& table = kernels();
  const int n = static_cast<int>(tile);
  if (tile == 0) {
    for_each_item(table.direct_rows(layer), 0,
                  [&](int64_t i, float*) { table.direct_to_map(layer, out, i); });
  } else {
    for_each_item(table.winograd_blocks(layer, n), table.winograd_scratch(layer, n, 0),
                  [&](int64_t i, float* scratch) { table.winograd_to_map(layer, n, out, i, scratch); });
  }
}

std::tuple<Tensor, Tensor> dense_score_cpu(const std::vector<Tensor> inputs,
                                           const std::vector<Tensor> weights,
                                           const std::vector<Tensor> biases, const Tensor mean,
                                           const Tensor std_dev, int64_t kernel, int64_t tile,
                                           int64_t pool_shifts, int64_t step, const Sizes offset,
                                           const Sizes size, double slope, const Sizes image) {
  const size_t networks = inputs.size();
  STD_TORCH_CHECK(networks >= 2 && weights.size() == networks && biases.size() == networks,
                  "dense_score: needs inputs, weights and biases of one teacher and at least one student");
  std::vector<DenseLayer> layers;
  for (size_t n = 0; n < networks; ++n) {
    layers.push_back(
        describe(inputs[n], weights[n], biases[n], kernel, tile, pool_shifts, step, offset, size, slope));
    for (int64_t i = 0; i < 5; ++i) {
      STD_TORCH_CHECK(inputs[n].size(i) == inputs[0].size(i),
                      "dense_score: the networks' inputs differ in shape");
    }
    STD_TORCH_CHECK(layers[n].out_channels == layers[0].out_channels,
                    "dense_score: the networks' descriptors differ in length");
  }
  const DenseLayer& teacher = layers[0];
  check_float(mean, 1, "mean");
  check_float(std_dev, 1, "std");
  STD_TORCH_CHECK(mean.size(0) == teacher.out_channels && std_dev.size(0) == teacher.out_channels,
                  "dense_score: mean and std must be [", teacher.out_channels, "], padded as the bias is");
  STD_TORCH_CHECK(image.size() == 2, "dense_score: image must be two sizes");
  Tensor error = torch::stable::new_empty(inputs[0], {image[0], image[1]});
  Tensor variance = torch::stable::new_empty(inputs[0], {image[0], image[1]});
  DenseScore score{};
  score.layers = layers.data();
  score.networks = static_cast<int64_t>(networks);
  score.mean = mean.const_data_ptr<float>();
  score.std_dev = std_dev.const_data_ptr<float>();
  score.error = through_phases(teacher, image, 1, error.mutable_data_ptr<float>());
  score.variance = through_phases(teacher, image, 1, variance.mutable_data_ptr<float>());

  const KernelTable& table = kernels();
  const int n = static_cast<int>(tile);
  if (tile == 0) {
    for_each_item(table.direct_rows(teacher), table.direct_scratch(teacher, score.networks),
                  [&](int64_t i, float* scratch) { table.direct_to_score(score, i, scratch); });
  } else {
    for_each_item(table.winograd_blocks(teacher, n), table.winograd_scratch(teacher, n, score.networks),
                  [&](int64_t i, float* scratch) { table.winograd_to_score(score, n, i, scratch); });
  }
  return {error, variance};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def(
      "dense_layer(Tensor input, Tensor weights, Tensor bias, int kernel, int tile, int pool_shifts, int "
      "step, "
      "int[] offset, int[] size, float slope, int[] image, Tensor(a!) out) -> ()");
  m.def(
      "dense_score(Tensor[] inputs, Tensor[] weights, Tensor[] biases, Tensor mean, Tensor std, int kernel, "
      "int tile, "
      "int pool_shifts, int step, int[] offset, int[] size, float slope, int[] image) -> (Tensor e, Tensor "
      "v)");
}

STABLE_TORCH_LIBRARY_IMPL(stadx, CPU, m) {
  m.impl("dense_layer", TORCH_BOX(&dense_layer_cpu));
  m.impl("dense_score", TORCH_BOX(&dense_score_cpu));
}

}  // namespace stadx
