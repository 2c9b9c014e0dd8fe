// The schema of stadx::region_sums, a kernel for GPUs only; elsewhere the reference in PyTorch runs.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("region_sums(Tensor values, Tensor at, Tensor region, int regions) -> Tensor");
}
