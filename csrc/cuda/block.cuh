// What a kernel may ask of its block of threads: on a GPU a thin layer over the intrinsics; the tests give
// fibers on the host the same interface (tests/support/simt/simt.h), so that kernels run there unchanged.
//
// A kernel is a struct that is passed by value, with
// - kThreads: threads of a block, in one dimension, a multiple of 32;
// - Shared: its shared memory, trivially constructible and uninitialised;
// - operator()(Block&, Shared&) const, STADX_DEVICE: what every thread runs.
// All lanes of a warp must reach its warp operations, and all threads sync(): none may leave before.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)

#define STADX_DEVICE __device__ __forceinline__

namespace stadx::cuda {

class Block {
 public:
  STADX_DEVICE int thread() const { return static_cast<int>(threadIdx.x); }
  STADX_DEVICE int lane() const { return static_cast<int>(threadIdx.x & 31); }
  STADX_DEVICE int warp() const { return static_cast<int>(threadIdx.x >> 5); }
  STADX_DEVICE int64_t x() const { return blockIdx.x; }  // of the block in the grid
  STADX_DEVICE int64_t y() const { return blockIdx.y; }
  STADX_DEVICE int64_t grid_x() const { return gridDim.x; }
  STADX_DEVICE int64_t grid_y() const { return gridDim.y; }

  STADX_DEVICE void sync() { __syncthreads(); }

  // All 32 lanes of the warp take part.
  STADX_DEVICE uint32_t ballot(bool value) { return __ballot_sync(~0u, value); }
  template <typename T>
  STADX_DEVICE T shuffle(T value, int lane) {
    return __shfl_sync(~0u, value, lane);
  }
  template <typename T>
  STADX_DEVICE T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(~0u, value, mask);
  }
  template <typename T>
  STADX_DEVICE T shuffle_up(T value, int lanes) {  // the first lanes get their own value
    return __shfl_up_sync(~0u, value, lanes);
  }

  // On shared or global memory; each returns the value before.
  STADX_DEVICE int32_t atomic_add(int32_t* p, int32_t value) { return atomicAdd(p, value); }
  STADX_DEVICE uint32_t atomic_add(uint32_t* p, uint32_t value) { return atomicAdd(p, value); }
  STADX_DEVICE int64_t atomic_add(int64_t* p, int64_t value) {
    return static_cast<int64_t>(
        atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(value)));
  }
  STADX_DEVICE int32_t atomic_min(int32_t* p, int32_t value) { return atomicMin(p, value); }
  STADX_DEVICE uint32_t atomic_or(uint32_t* p, uint32_t value) { return atomicOr(p, value); }

  // A value that other threads may be changing by atomics.
  STADX_DEVICE int32_t load_changing(const int32_t* p) { return *static_cast<const volatile int32_t*>(p); }
};

// Memory that nobody writes while the kernel runs: may go through the read-only path.
template <typename T>
STADX_DEVICE T load_constant(const T* p) {
  return __ldg(p);
}

STADX_DEVICE int popcount(uint32_t bits) { return __popc(bits); }
STADX_DEVICE int popcount(uint64_t bits) { return __popcll(bits); }
STADX_DEVICE int lowest_bit(uint32_t bits) { return __ffs(static_cast<int>(bits)) - 1; }  // -1 for none

}  // namespace stadx::cuda

#else

#include "simt.h"

#endif
