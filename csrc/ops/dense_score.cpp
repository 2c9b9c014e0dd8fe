// stadx::dense_score: the last convolution of teacher and students over all phases of an image, with scores.

#include <tuple>

#include "ops/dense_layer.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

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
    layers.push_back(describe_layer(inputs[n], weights[n], biases[n], kernel, tile, pool_shifts, step, offset,
                                    size, slope));
    for (int64_t i = 0; i < 5; ++i) {
      STD_TORCH_CHECK(inputs[n].size(i) == inputs[0].size(i),
                      "dense_score: the networks' inputs differ in shape");
    }
    STD_TORCH_CHECK(layers[n].out_channels == layers[0].out_channels,
                    "dense_score: the networks' descriptors differ in length");
  }
  const DenseLayer& teacher = layers[0];
  check_floats(mean, 1, "dense_layer: mean");
  check_floats(std_dev, 1, "dense_layer: std");
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

STADX_CPU_OPERATOR(
    dense_score,
    "(Tensor[] inputs, Tensor[] weights, Tensor[] biases, Tensor mean, Tensor std, int kernel, "
    "int tile, int pool_shifts, int step, int[] offset, int[] size, float slope, int[] image) "
    "-> (Tensor e, Tensor v)")

}  // namespace stadx
