// Kernels that do what a GPU leaves undefined: the simulator must stop them.
#include <cstring>

#include "cuda/launch.cuh"

namespace {

using stadx::cuda::Block;

struct Diverging {
  static constexpr int kThreads = 64;
  struct Shared {};
  bool barrier, shuffle;
  int* out;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    if (!barrier || block.thread() != 5) block.sync();
    if (!shuffle || block.lane() < 16) out[block.thread()] = block.shuffle_xor(block.thread(), 1);
  }
};

}  // namespace

int main(int, char** argv) {
  int out[64];
  const bool barrier = std::strcmp(argv[1], "barrier") == 0, shuffle = std::strcmp(argv[1], "shuffle") == 0;
  stadx::cuda::launch(Diverging{barrier, shuffle, out}, {1, 1}, nullptr);
  for (int i = 0; i < 64; ++i) {
    if (out[i] != (i ^ 1)) return 1;
  }
  return 0;
}
