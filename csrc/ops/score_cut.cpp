// The schema of stadx::score_cut, a kernel for GPUs only; elsewhere the reference in PyTorch runs.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) { m.def("score_cut(Tensor[] scores, int wanted) -> Tensor"); }
