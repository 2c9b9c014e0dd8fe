// The schema of stadx::phase_pool, a kernel for GPUs only; elsewhere the reference in PyTorch runs.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("phase_pool(Tensor x, Tensor bias, float slope, int shifts) -> Tensor");
}
