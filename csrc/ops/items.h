// The loop over a kernel's items, each thread with memory of its own.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <atomic>
#include <cstdlib>
#include <memory>

namespace stadx {

// Calls work(item, scratch) for every item, whichever thread is free taking the next: items differ in cost.
template <typename Work>
void for_each_item(int64_t items, int64_t scratch_floats, const Work& work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  torch::stable::parallel_for(0, torch::stable::get_num_threads(), 1, [&](int64_t, int64_t) {
    const size_t bytes = (static_cast<size_t>(scratch_floats) * sizeof(float) + 63) / 64 * 64;
    const std::unique_ptr<void, decltype(&std::free)> scratch(bytes ? std::aligned_alloc(64, bytes) : nullptr,
                                                              &std::free);
    if (bytes != 0 && scratch == nullptr) {
      failed = true;
      return;
    }
    for (int64_t i = next++; i < items; i = next++) work(i, static_cast<float*>(scratch.get()));
  });
  STD_TORCH_CHECK(!failed, "can't allocate memory: a scratch buffer of ", scratch_floats, " floats");
}

}  // namespace stadx
