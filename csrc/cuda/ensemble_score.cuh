// e and v of a student ensemble (Eqs. 9 and 10), and from them the anomaly map (Eqs. 11 and 12), reading
// every descriptor once. The mean and the variance over the students are Welford's, in registers.
#pragma once

#include "cuda/launchers.h"
#include "cuda/words.cuh"

namespace stadx::cuda {

STADX_DEVICE void put_score(const ScoreOutput& out, int64_t pixel, float e, float v) {
  if (out.error != nullptr) {
    out.error[pixel] = e;
    out.variance[pixel] = v;
  } else {
    const float score = out.weight * ((e - out.e_mean) / out.e_std + (v - out.v_mean) / out.v_std);
    out.map[pixel] = out.add ? out.map[pixel] + score : score;
  }
}

// Calls visit(student, raw) for every student; four loads are under way at a time.
template <typename T, bool kWide, typename Visit>
STADX_DEVICE void for_students(const ScoreInput& in, int64_t offset, const Visit& visit) {
  using C = Chunk<T, kWide>;
  for (int first = 1; first <= in.students; first += 4) {
    typename C::Raw raw[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (first + k <= in.students) raw[k] = C::load(static_cast<const T*>(in.maps[first + k]) + offset);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (first + k <= in.students) visit(first + k, raw[k]);
    }
  }
}

STADX_DEVICE float activated(float x, float slope) { return x < 0.0f ? x * slope : x; }

// kLanes lanes share a pixel, each with every kLanes-th chunk of its descriptors.
template <typename T, bool kWide, int kLanes>
struct PhaseScore {
  static constexpr int kThreads = 256;
  static constexpr int kPixels = kThreads / kLanes;  // of a block
  struct Shared {};
  using C = Chunk<T, kWide>;

  PhaseScoreArgs a;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t pixels = a.batch * a.height * a.width;
    const int64_t pixel = block.x() * kPixels + block.thread() / kLanes;
    const bool inside = pixel < pixels;
    const int64_t teacher = inside ? offset_of(pixel, 0) : 0, students = inside ? offset_of(pixel, 1) : 0;
    float e = 0.0f, m2 = 0.0f;
    const int64_t chunks = inside ? a.in.channels / C::kSize : 0;
    for (int64_t i = block.thread() % kLanes; i < chunks; i += kLanes) {
      add_chunk(teacher + i * C::kSize, students + i * C::kSize, i * C::kSize, e, m2);
    }
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) {
      e += block.shuffle_xor(e, step);
      m2 += block.shuffle_xor(m2, step);
    }
    if (inside && block.thread() % kLanes == 0)
      put_score(a.out, pixel, e, m2 / static_cast<float>(a.in.students));
  }

 private:
  STADX_DEVICE int64_t offset_of(int64_t pixel, int which) const {
    const int64_t c = pixel % a.width, row = pixel / a.width, r = row % a.height, image = row / a.height;
    int64_t phase = 0;
    for (int k = a.pools - 1; k >= 0; --k) phase = phase * 4 + (r >> k & 1) * 2 + (c >> k & 1);
    return (phase * a.batch + image) * a.batch_stride[which] + (r >> a.pools) * a.row_stride[which] +
           (c >> a.pools) * a.pixel_stride[which];
  }

  STADX_DEVICE void add_chunk(int64_t teacher_at, int64_t students_at, int64_t channel, float& e,
                              float& m2) const {
    const ScoreInput& in = a.in;
    const typename C::Raw teacher = C::load(static_cast<const T*>(in.maps[0]) + teacher_at);
    float mean[C::kSize], x[C::kSize];
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) mean[k] = 0.0f;
    for_students<T, kWide>(in, students_at, [&](int student, const typename C::Raw& raw) {
      const float share = 1.0f / static_cast<float>(student);
      read_values(raw, student, channel, x);
#pragma unroll
      for (int k = 0; k < C::kSize; ++k) {
        const float difference = x[k] - mean[k];
        mean[k] = student == 1 ? x[k] : mean[k] + difference * share;  // huge first values stay as they are
        m2 += student == 1 ? x[k] - x[k] : difference * (x[k] - mean[k]);  // NaN, as centred, if not finite
      }
    });
    float mu[C::kSize], sigma[C::kSize];
    load_floats<C::kSize, kWide>(in.mean + channel, mu);
    load_floats<C::kSize, kWide>(in.std_dev + channel, sigma);
    read_values(teacher, 0, channel, x);
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) {
      const float miss = mean[k] - (x[k] - mu[k]) / sigma[k];
      e += miss * miss;
    }
  }

  STADX_DEVICE void read_values(const typename C::Raw& raw, int network, int64_t channel, float* out) const {
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) out[k] = to_float(C::element(raw, k));
    if (a.in.bias == nullptr) return;
    float bias[C::kSize];
    load_floats<C::kSize, kWide>(a.in.bias + network * a.in.channels + channel, bias);
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) out[k] = activated(out[k] + bias[k], a.in.slope);
  }
};

// A block: 32 chunks of pixels, its warps share the channels and add up in shared memory.
template <typename T, bool kWide>
struct PlanarScore {
  static constexpr int kWarps = 8, kThreads = 32 * kWarps;
  using C = Chunk<T, kWide>;
  static constexpr int kPixels = 32 * C::kSize;  // of a block
  struct Shared {
    float e[kWarps][kPixels], m2[kWarps][kPixels];
  };

  PlanarScoreArgs a;

  STADX_DEVICE void operator()(Block& block, Shared& shared) const {
    const int64_t parts = (a.pixels + kPixels - 1) / kPixels;  // of an image
    const int64_t image = block.x() / parts, begin = block.x() % parts * kPixels;
    const int64_t first = begin + block.lane() * C::kSize;
    float e[C::kSize], m2[C::kSize];
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) e[k] = m2[k] = 0.0f;
    if (first < a.pixels) {
      for (int64_t c = block.warp(); c < a.in.channels; c += kWarps) add_channel(image, c, first, e, m2);
    }
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) {
      shared.e[block.warp()][block.lane() * C::kSize + k] = e[k];
      shared.m2[block.warp()][block.lane() * C::kSize + k] = m2[k];
    }
    block.sync();
    for (int i = block.thread(); i < kPixels; i += kThreads) {
      float sum_e = 0.0f, sum_m2 = 0.0f;
      for (int w = 0; w < kWarps; ++w) {
        sum_e += shared.e[w][i];
        sum_m2 += shared.m2[w][i];
      }
      if (begin + i < a.pixels) {
        put_score(a.out, image * a.pixels + begin + i, sum_e, sum_m2 / static_cast<float>(a.in.students));
      }
    }
  }

 private:
  STADX_DEVICE void add_channel(int64_t image, int64_t c, int64_t first, float* e, float* m2) const {
    const ScoreInput& in = a.in;
    const T* teacher =
        static_cast<const T*>(in.maps[0]) + image * a.batch_stride[0] + c * a.channel_stride[0];
    const typename C::Raw raw_teacher = C::load(teacher + first);
    const float mu = load_constant(in.mean + c), sigma = load_constant(in.std_dev + c);
    float mean[C::kSize];
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) mean[k] = 0.0f;
    const int64_t offset = image * a.batch_stride[1] + c * a.channel_stride[1] + first;
    for_students<T, kWide>(in, offset, [&](int student, const typename C::Raw& raw) {
      const float share = 1.0f / static_cast<float>(student);
#pragma unroll
      for (int k = 0; k < C::kSize; ++k) {
        const float x = to_float(C::element(raw, k)), difference = x - mean[k];
        mean[k] = student == 1 ? x : mean[k] + difference * share;
        m2[k] += student == 1 ? x - x : difference * (x - mean[k]);
      }
    });
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) {
      const float miss = mean[k] - (to_float(C::element(raw_teacher, k)) - mu) / sigma;
      e[k] += miss * miss;
    }
  }
};

}  // namespace stadx::cuda
