// The schema of stadx::phase_score, a kernel for GPUs only; elsewhere the reference in PyTorch runs.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def(
      "phase_score(Tensor[] maps, Tensor bias, Tensor mean, Tensor std, float slope, int pools, "
      "float[] normalization, float weight, bool add, Tensor(a!) out) -> ()");
}
