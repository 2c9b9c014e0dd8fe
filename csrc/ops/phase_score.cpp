// stadx::phase_score: the schema. It has a kernel for a GPU alone; elsewhere the plain-PyTorch reference
// serves.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def(
      "phase_score(Tensor[] maps, Tensor bias, Tensor mean, Tensor std, float slope, int pools, "
      "float[] normalization, float weight, bool add, Tensor(a!) out) -> ()");
}
