// Operators with kernels for a GPU alone; elsewhere their plain-PyTorch twins serve (python/stadx/ops.py).
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("phase_pool(Tensor x, Tensor bias, float slope, int shifts) -> Tensor");
  m.def(
      "phase_score(Tensor[] maps, Tensor bias, Tensor mean, Tensor std, float slope, int pools, float[] "
      "normalization, float weight, bool add, Tensor(a!) out) -> ()");
  m.def("score_cut(Tensor[] scores, int wanted) -> Tensor");
  m.def("region_sums(Tensor values, Tensor at, Tensor region, int regions) -> Tensor");
}
