// stadx::pack_weights: a convolution's weights as the dense engine multiplies by them.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include "cpu/kernels.h"
#include "cpu/winograd.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <int N>
double weight_matrix(int k, int j, int r) {
  return k < N && j < r ? winograd_weight<N>(k, j, r) : 0.0;
}

// [O, C, r, r] to [⌈O / 64⌉, points, 64 / w, depth, w], zeros where there is no output or input channel; w
// columns are what the kernels in use multiply by at once. Winograd: one point per entry of G w Gᵀ, depth =
// `channels`. Direct (tile 0): one point, depth = (kernel row, kernel column, channel).
Tensor pack_weights_cpu(const Tensor weight, int64_t tile, int64_t channels) {
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == weight.size(3),
                  "pack_weights: weight must be [O, C, k, k]");
  STD_TORCH_CHECK(weight.scalar_type() == ScalarType::Float, "pack_weights: weight must be float32");
  const int64_t outputs = weight.size(0), inputs = weight.size(1), r = weight.size(2);
  STD_TORCH_CHECK(outputs >= 1 && inputs >= 1 && r >= 1, "pack_weights: weight is empty");
  STD_TORCH_CHECK(channels >= inputs, "pack_weights: channels must be at least C = ", inputs);
  STD_TORCH_CHECK(tile == 0 || tile == 8 || tile == 10, "pack_weights: tile must be 0 (direct), 8 or 10");
  STD_TORCH_CHECK(tile == 0 || r < tile, "pack_weights: tile ", tile, " is too small for a kernel of ", r);

  const int64_t points = tile == 0 ? 1 : tile * tile, depth = tile == 0 ? r * r * channels : channels;
  const int64_t panels = (outputs + kPanel - 1) / kPanel, width = kernels().weight_width;
  Tensor packed = torch::stable::new_zeros(weight, {panels, points, kPanel / width, depth, width});
  const Tensor source = torch::stable::contiguous(weight);
  const float* w = source.const_data_ptr<float>();
  float* out = packed.mutable_data_ptr<float>();

  double g[10][10] = {};  // G
  for (int k = 0; k < tile; ++k) {
    for (int j = 0; j < r; ++j) {
      const int width = static_cast<int>(r);
      g[k][j] = tile == 8 ? weight_matrix<8>(k, j, width) : weight_matrix<10>(k, j, width);
    }
  }
  torch::stable::parallel_for(0, inputs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t o = 0; o < outputs; ++o) {
        const float* kernel = w + (o * inputs + c) * r * r;
        const int64_t column = o % kPanel;
        float* first =
            out + o / kPanel * points * depth * kPanel + column / width * depth * width + column % width;
        if (tile == 0) {
          for (int64_t i = 0; i < r * r; ++i) first[(i * channels + c) * width] = kernel[i];
          continue;
        }
        double half[10][10];  // G w
        for (int64_t k = 0; k < tile; ++k) {
          for (int64_t j = 0; j < r; ++j) {
            half[k][j] = 0.0;
            for (int64_t i = 0; i < r; ++i) half[k][j] += g[k][i] * kernel[i * r + j];
          }
        }
        for (int64_t k = 0; k < tile; ++k) {
          for (int64_t l = 0; l < tile; ++l) {
            double value = 0.0;
            for (int64_t j = 0; j < r; ++j) value += half[k][j] * g[l][j];
            first[(k * tile + l) * depth * kPanel + c * width] = static_cast<float>(value);
          }
        }
      }
    }
  });
  return packed;
}

}  // namespace

STADX_CPU_OPERATOR(pack_weights, "(Tensor weight, int tile, int channels) -> Tensor")

}  // namespace stadx
