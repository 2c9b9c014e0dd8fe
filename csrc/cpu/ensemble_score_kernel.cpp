// The ensemble score of every pixel, e = ‖mean_i Sᵢ − (T − µ)/σ‖² and v = mean_i ‖Sᵢ − mean_j Sⱼ‖², in one
// pass over memory.
#include "common/half.h"
#include "cpu/ensemble_math.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"

namespace stadx::STADX_ISA {
namespace {

template <typename T>
const T* pixel_pointer(const MapView& map, int64_t image, int64_t row, int64_t pixel) {
  return static_cast<const T*>(map.data) + image * map.batch_stride + row * map.row_stride +
         pixel * map.pixel_stride;
}

// Channels that one sweep over a block takes together: enough streams to keep memory busy, and the block's
// sums are read and written once for all of them.
constexpr int kChannels = 4;

// Adds channels c … c + N − 1 of `count` adjacent pixels to their sums.
template <typename T, int M, int N>
void add_planes(const EnsembleScoreArgs& a, const T* students, const T* teacher, int64_t c, int count,
                float* error, float* variance) {
  const int m = static_cast<int>(a.num_students);
  const float inv_students = 1.0f / static_cast<float>(m);
  const T *s[N], *t[N];
  for (int k = 0; k < N; ++k) {
    s[k] = students + (c + k) * a.students.channel_stride;
    t[k] = teacher + (c + k) * a.teacher.channel_stride;
  }
  int p = 0;
  for (; p + kLanes <= count; p += kLanes) {
    FloatVec e = load_vec(error + p), v = load_vec(variance + p);
    for (int k = 0; k < N; ++k) {
      accumulate_component<M, FloatVec>([&](int i) { return load_vec(s[k] + i * a.student_stride + p); }, m,
                                        broadcast(inv_students), load_vec(t[k] + p), broadcast(a.mean[c + k]),
                                        broadcast(a.std_dev[c + k]), e, v);
    }
    store_vec(error + p, e);
    store_vec(variance + p, v);
  }
  for (; p < count; ++p) {
    for (int k = 0; k < N; ++k) {
      accumulate_component<M, float>([&](int i) { return load(s[k] + i * a.student_stride + p); }, m,
                                     inv_students, load(t[k] + p), a.mean[c + k], a.std_dev[c + k], error[p],
                                     variance[p]);
    }
  }
}

// Planar: pixels are adjacent in memory. Channels stream by outside, the block's sums stay in the cache.
template <typename T, int M>
void planar(const EnsembleScoreArgs& a, int64_t image, int64_t row, int64_t block) {
  const int64_t begin = block * kScoreBlock;
  const int count = static_cast<int>(a.width - begin < kScoreBlock ? a.width - begin : kScoreBlock);
  const T* students = pixel_pointer<T>(a.students, image, row, begin);
  const T* teacher = pixel_pointer<T>(a.teacher, image, row, begin);

  alignas(64) float error[kScoreBlock], variance[kScoreBlock];
  for (int p = 0; p < count; ++p) error[p] = variance[p] = 0.0f;
  int64_t c = 0;
  for (; c + kChannels <= a.channels; c += kChannels) {
    add_planes<T, M, kChannels>(a, students, teacher, c, count, error, variance);
  }
  for (; c < a.channels; ++c) add_planes<T, M, 1>(a, students, teacher, c, count, error, variance);

  const float inv_students = 1.0f / static_cast<float>(a.num_students);
  const int64_t out = (image * a.rows + row) * a.width + begin;
  for (int p = 0; p < count; ++p) {
    a.error[out + p] = error[p];
    a.variance[out + p] = variance[p] * inv_students;
  }
}

// Channels last: one pixel's descriptor is adjacent in memory and reduces to two sums.
template <typename T, int M>
void channels_last(const EnsembleScoreArgs& a, int64_t image, int64_t row, int64_t block) {
  const int64_t begin = block * kScoreBlock;
  const int64_t end = a.width - begin < kScoreBlock ? a.width : begin + kScoreBlock;
  const int m = static_cast<int>(a.num_students);
  const float inv_students = 1.0f / static_cast<float>(m);
  for (int64_t p = begin; p < end; ++p) {
    const T* s = pixel_pointer<T>(a.students, image, row, p);
    const T* t = pixel_pointer<T>(a.teacher, image, row, p);
    FloatVec e = {}, v = {};
    int64_t c = 0;
    for (; c + kLanes <= a.channels; c += kLanes) {
      accumulate_component<M, FloatVec>([&](int i) { return load_vec(s + i * a.student_stride + c); }, m,
                                        broadcast(inv_students), load_vec(t + c), load_vec(a.mean + c),
                                        load_vec(a.std_dev + c), e, v);
    }
    float error = horizontal_sum(e), variance = horizontal_sum(v);
    for (; c < a.channels; ++c) {
      accumulate_component<M, float>([&](int i) { return load(s + i * a.student_stride + c); }, m,
                                     inv_students, load(t + c), a.mean[c], a.std_dev[c], error, variance);
    }
    const int64_t out = (image * a.rows + row) * a.width + p;
    a.error[out] = error;
    a.variance[out] = variance * inv_students;
  }
}

enum class Layout { planar, channels_last };

template <typename T, Layout layout, int M>
void score(const EnsembleScoreArgs& a, int64_t image, int64_t row, int64_t block) {
  if constexpr (layout == Layout::planar) {
    planar<T, M>(a, image, row, block);
  } else {
    channels_last<T, M>(a, image, row, block);
  }
}

// The usual ensemble sizes get code with the students' loop unrolled and their values held in registers.
template <typename T, Layout layout>
void score_any(const EnsembleScoreArgs& a, int64_t image, int64_t row, int64_t block) {
  switch (a.num_students) {
    case 1:
      return score<T, layout, 1>(a, image, row, block);
    case 2:
      return score<T, layout, 2>(a, image, row, block);
    case 3:
      return score<T, layout, 3>(a, image, row, block);
    case 5:
      return score<T, layout, 5>(a, image, row, block);
    default:
      return score<T, layout, 0>(a, image, row, block);
  }
}

}  // namespace

using ScoreArgs = EnsembleScoreArgs;
void ensemble_score_planar_f32(const ScoreArgs& a, int64_t i, int64_t r, int64_t b) {
  score_any<float, Layout::planar>(a, i, r, b);
}
void ensemble_score_planar_bf16(const ScoreArgs& a, int64_t i, int64_t r, int64_t b) {
  score_any<BFloat16, Layout::planar>(a, i, r, b);
}
void ensemble_score_channels_last_f32(const ScoreArgs& a, int64_t i, int64_t r, int64_t b) {
  score_any<float, Layout::channels_last>(a, i, r, b);
}
void ensemble_score_channels_last_bf16(const ScoreArgs& a, int64_t i, int64_t r, int64_t b) {
  score_any<BFloat16, Layout::channels_last>(a, i, r, b);
}

}  // namespace stadx::STADX_ISA
