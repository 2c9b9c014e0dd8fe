// stadx::phase_pool: the schema. It has a kernel for a GPU alone; elsewhere the plain-PyTorch reference
// serves.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("phase_pool(Tensor x, Tensor bias, float slope, int shifts) -> Tensor");
}
