// Starts a kernel (see block.cuh) on a stream, and says so if it cannot.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cuda/block.cuh"
#include "cuda/launchers.h"

namespace stadx::cuda {

struct Grid {
  int64_t x = 1, y = 1;  // x below 2^31, y below 2^16
};

inline constexpr int64_t kMaxGridY = 65535;

#if defined(__CUDACC__)

// For sm_100 the compiler spills a few bytes unless it is told that half a thousand threads are enough.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define STADX_BOUNDS(threads) __launch_bounds__(threads, 511 / threads + 1)
#else
#define STADX_BOUNDS(threads) __launch_bounds__(threads)
#endif

template <typename Kernel>
__global__ void STADX_BOUNDS(Kernel::kThreads) run(const __grid_constant__ Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  Block block;
  kernel(block, shared);
}

template <typename Kernel>
void launch(const Kernel& kernel, Grid grid, Stream stream) {
  if (grid.x == 0 || grid.y == 0) return;
  run<Kernel><<<dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y)), Kernel::kThreads, 0,
                static_cast<cudaStream_t>(stream)>>>(kernel);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("stadx: a CUDA kernel could not be started: ") +
                             cudaGetErrorString(error));
  }
}

#else

template <typename Kernel>
void launch(const Kernel& kernel, Grid grid, Stream) {
  simt::launch(kernel, grid.x, grid.y);
}

#endif

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace stadx::cuda
