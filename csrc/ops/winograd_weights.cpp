// stadx::winograd_weights: a convolution's weights as Winograd's, and back, for training.
#include "cpu/kernels.h"
#include "ops/matrices.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::stable::Tensor;

// [O, r, r, C] to [tile², O, C]; transposed, the other way.
Tensor winograd_weights_cpu(const Tensor weights, int64_t tile, int64_t kernel, bool transposed) {
  STD_TORCH_CHECK((tile == 8 || tile == 10) && (kernel == 2 || kernel == 4 || kernel == 5),
                  "winograd_weights: tile must be 8 or 10, kernel 2, 4 or 5");
  if (transposed) {
    check_matrices(weights, "winograd_weights: weights");
    STD_TORCH_CHECK(weights.size(0) == tile * tile, "winograd_weights: weights must be [", tile * tile,
                    ", O, C]");
  } else {
    check_floats(weights, 4, "winograd_weights: weights");
    STD_TORCH_CHECK(weights.size(1) == kernel && weights.size(2) == kernel,
                    "winograd_weights: weights must be [O, ", kernel, ", ", kernel, ", C]");
  }
  WinogradWeights a{};
  const int64_t outputs = weights.size(transposed ? 1 : 0);
  a.channels = weights.size(transposed ? 2 : 3);
  STD_TORCH_CHECK(a.channels % 16 == 0, "winograd_weights: channels must be a multiple of 16, not ",
                  a.channels);
  a.tile = static_cast<int>(tile);
  a.kernel = static_cast<int>(kernel);
  float* given = const_cast<float*>(weights.const_data_ptr<float>());  // only read here
  Tensor made = transposed ? torch::stable::new_empty(weights, {outputs, kernel, kernel, a.channels})
                           : new_matrices(weights, tile * tile, outputs, a.channels);
  a.point = (transposed ? weights : made).stride(0);
  a.points = transposed ? given : made.mutable_data_ptr<float>();
  a.kernels = transposed ? made.mutable_data_ptr<float>() : given;
  const KernelTable& table = kernels();
  const auto run = transposed ? table.winograd_weights_transposed : table.winograd_weights;
  torch::stable::parallel_for(0, outputs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run(a, i);
  });
  return made;
}

}  // namespace

STADX_CPU_OPERATOR(winograd_weights, "(Tensor weights, int tile, int kernel, bool transposed) -> Tensor")

}  // namespace stadx
