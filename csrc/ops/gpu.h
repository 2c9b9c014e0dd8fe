// The GPU's side of an operator: its registration, the device and the stream. The tests build the same
// sources for the host (STADX_SIMT), where the kernels run as fibers on CPU tensors.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include "cuda/launchers.h"

namespace stadx {

#if defined(STADX_SIMT)

#define STADX_GPU_LIBRARY(m) STABLE_TORCH_LIBRARY_IMPL(stadx_simt, CPU, m)

class GpuScope {
 public:
  explicit GpuScope(const torch::stable::Tensor&) {}
  cuda::Stream stream() const { return nullptr; }
};

#else

#define STADX_GPU_LIBRARY(m) STABLE_TORCH_LIBRARY_IMPL(stadx, CUDA, m)

// Makes the device of a tensor the current one and gives its current stream.
class GpuScope {
 public:
  explicit GpuScope(const torch::stable::Tensor& t)
      : guard_(t.get_device_index()),
        stream_(torch::stable::accelerator::getCurrentStream(t.get_device_index())) {}
  cuda::Stream stream() const { return stream_.nativeHandle(); }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  torch::stable::accelerator::Stream stream_;
};

#endif

// float32, bfloat16 or float16; `what` begins the message otherwise.
inline cuda::Element map_element(const torch::stable::Tensor& t, const char* what) {
  using torch::headeronly::ScalarType;
  const ScalarType dtype = t.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::BFloat16 || dtype == ScalarType::Half,
                  what, " must be float32, bfloat16 or float16");
  if (dtype == ScalarType::Float) return cuda::Element::float32;
  return dtype == ScalarType::Half ? cuda::Element::float16 : cuda::Element::bfloat16;
}

// Whether a byte count or an address allows accesses of 16 bytes.
inline bool is_wide(int64_t bytes) { return bytes % 16 == 0; }
inline bool is_wide(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace stadx
