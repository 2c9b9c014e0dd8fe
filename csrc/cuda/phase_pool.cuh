// Bias, leaky ReLU and 2 x 2 max-pools of stride 2 in one read of the map: as is, through one pool, or
// through the four pools whose windows are shifted by one pixel (the phases of Bailer et al. 2017).
#pragma once

#include "cuda/launchers.h"
#include "cuda/words.cuh"

namespace stadx::cuda {

inline constexpr int kPoolStrip =
    8;  // rows of the result that a thread walks down: neighbours share a row of x

// One thread: a chunk of channels at one column, down a strip of rows.
template <typename T, bool kWide, int kShifts>
struct PhasePool {
  static constexpr int kThreads = 128;
  struct Shared {};
  using C = Chunk<T, kWide>;
  using Raw = typename C::Raw;

  PhasePoolArgs a;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t chunks = a.channels / C::kSize, index = block.x() * kThreads + block.thread();
    const int64_t column = index / chunks, channel = index % chunks * C::kSize;
    if (column >= a.columns) return;
    float bias[C::kSize];
    for (int i = 0; i < C::kSize; ++i) bias[i] = load_constant(a.bias + channel + i);
    const int64_t strips = (a.rows + kPoolStrip - 1) / kPoolStrip;
    for (int64_t item = block.y(); item < a.batch * strips; item += block.grid_y()) {
      const int64_t image = item / strips, first = item % strips * kPoolStrip;
      const int64_t end = first + kPoolStrip < a.rows ? first + kPoolStrip : a.rows;
      const T* x = static_cast<const T*>(a.x) + image * a.batch_stride + channel;
      T* out = static_cast<T*>(a.out) + (image * a.rows * a.columns + column) * a.channels + channel;
      if constexpr (kShifts == 0) {
        for (int64_t i = first; i < end; ++i) {
          put(out + i * a.columns * a.channels, C::load(x + i * a.row_stride + column * a.pixel_stride),
              bias);
        }
      } else if constexpr (kShifts == 1) {
        for (int64_t i = first; i < end; ++i) {
          const Raw top = pair(x, 2 * i, column), low = pair(x, 2 * i + 1, column);
          put(out + i * a.columns * a.channels, max_of<T, kWide>(top, low), bias);
        }
      } else {
        walk(x, out, first, end, column, bias);
      }
    }
  }

 private:
  // All four shifts; the lowest row of one step is the highest of the next.
  STADX_DEVICE void walk(const T* x, T* out, int64_t first, int64_t end, int64_t column,
                         const float* bias) const {
    const int64_t step = a.columns * a.channels, phase = a.batch * a.rows * step;
    const T* row = x + 2 * first * a.row_stride + 2 * column * a.pixel_stride;
    T* at = out + first * step;
    Raw top[2], middle[2];
    pairs(row, top);
#pragma unroll 1  // the next step's loads, hoisted, would cost registers
    for (int64_t i = first; i < end; ++i) {
      row += a.row_stride;
      pairs(row, middle);
      put(at, max_of<T, kWide>(top[0], middle[0]), bias);
      put(at + phase, max_of<T, kWide>(top[1], middle[1]), bias);
      row += a.row_stride;
      pairs(row, top);
      put(at + 2 * phase, max_of<T, kWide>(middle[0], top[0]), bias);
      put(at + 3 * phase, max_of<T, kWide>(middle[1], top[1]), bias);
      at += step;
    }
  }

  // The maximum of two neighbours in a row: columns 2j and 2j + 1.
  STADX_DEVICE Raw pair(const T* x, int64_t row, int64_t column) const {
    const T* p = x + row * a.row_stride + 2 * column * a.pixel_stride;
    return max_of<T, kWide>(C::load(p), C::load(p + a.pixel_stride));
  }

  // Of three neighbours from p on: the first two, the last two.
  STADX_DEVICE void pairs(const T* p, Raw* out) const {
    const Raw left = C::load(p), middle = C::load(p + a.pixel_stride),
              right = C::load(p + 2 * a.pixel_stride);
    out[0] = max_of<T, kWide>(left, middle);
    out[1] = max_of<T, kWide>(middle, right);
  }

  STADX_DEVICE void put(T* out, const Raw& value, const float* bias) const {
    Raw result{};
    for (int i = 0; i < C::kSize; ++i) {
      const float y = to_float(C::element(value, i)) + bias[i];
      C::set_element(result, i, y < 0.0f ? y * a.slope : y);
    }
    C::store(out, result);
  }
};

}  // namespace stadx::cuda
