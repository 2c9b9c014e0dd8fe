// stadx::region_sums: the schema. It has a kernel for a GPU alone; elsewhere the plain-PyTorch reference
// serves.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) {
  m.def("region_sums(Tensor values, Tensor at, Tensor region, int regions) -> Tensor");
}
