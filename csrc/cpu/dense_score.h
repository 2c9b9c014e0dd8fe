// The two parts of the anomaly score, e and v, from the dense engine's descriptors in the cache.
#pragma once

#include "cpu/dense.h"
#include "cpu/ensemble_math.h"
#include "cpu/vec.h"

namespace stadx::STADX_ISA {
namespace {

// Number of outputs from `first` on, at most `count`, that lie inside both the layer and the limit.
inline int64_t kept(int64_t first, int64_t count, int64_t layer_size, int64_t phase, const DenseOutput& out,
                    int64_t limit) {
  const int64_t begin = phase * out.phase_step + first * out.index_step;
  const int64_t inside = begin >= limit ? 0 : (limit - begin + out.index_step - 1) / out.index_step;
  const int64_t left = layer_size - first;
  const int64_t least = inside < left ? inside : left;
  return least < count ? least : count;
}

// Pixel: its teacher descriptor at `descriptors`, students each `stride` floats further on.
inline void score_pixel(const DenseScore& a, int64_t channels, const float* descriptors, int64_t stride,
                        float* error, float* variance) {
  const int students = static_cast<int>(a.networks - 1);
  const float inv_students = 1.0f / static_cast<float>(students);
  FloatVec e = {}, v = {};
  for (int64_t c = 0; c < channels; c += kLanes) {
    accumulate_component<0, FloatVec>([&](int i) { return load_vec(descriptors + (i + 1) * stride + c); },
                                      students, broadcast(inv_students), load_vec(descriptors + c),
                                      load_vec(a.mean + c), load_vec(a.std_dev + c), e, v);
  }
  *error = horizontal_sum(e);
  *variance = horizontal_sum(v) * inv_students;
}

}  // namespace
}  // namespace stadx::STADX_ISA
