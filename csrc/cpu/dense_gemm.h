// The dense engine's matrix product: a few rows of A, given by address, times one packed panel of B.
#pragma once

#include <cstdint>
#include <utility>

#include "cpu/compiler.h"
#include "cpu/dense.h"
#include "cpu/neon.h"
#include "cpu/vec.h"

namespace stadx::STADX_ISA {
namespace {

constexpr int kRows = 6;  // rows of A in registers at once
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kVectors = 4;  // vectors of B beside them: 24 sums of 32 registers
#else
constexpr int kVectors = 2;  // 12 of 16
#endif
constexpr int kWidth = kVectors * kLanes;

// Row i of A begins at data + i·row and consists of `segments` runs of `length` floats, `segment` apart.
struct Rows {
  const float* data;
  int64_t row, segments, segment, length;

  int64_t depth() const { return segments * length; }
  Rows from(int64_t first) const { return {data + first * row, row, segments, segment, length}; }
};

// A given by its transpose: entry (i, k) is data[k·column + i].
struct Columns {
  const float* data;
  int64_t column, length;

  int64_t depth() const { return length; }
  Columns from(int64_t first) const { return {data + first, column, length}; }
};

#if defined(__aarch64__)
// One row of B, times one lane of each row of A: two vectors at a time, beside 24 sums and 6 rows of A.
template <int Lane, bool Prefetch, int Count>
STADX_ALWAYS_INLINE void add_row(const FloatVec (&left)[Count], const float* b, int64_t ahead,
                                 FloatVec (&sums)[Count][kVectors]) {
  if constexpr (Prefetch) __builtin_prefetch(b + ahead, 0, 2);
#pragma GCC unroll 2
  for (int j = 0; j < kVectors; j += 2) {
    const FloatVec first = load_four(b + j * kLanes), second = load_four(b + (j + 1) * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) {
      sums[i][j] = add_product<Lane>(sums[i][j], first, left[i]);
      sums[i][j + 1] = add_product<Lane>(sums[i][j + 1], second, left[i]);
    }
  }
}

// Adds the products of one run of A; returns where B goes on.
template <int Count, bool Prefetch>
STADX_ALWAYS_INLINE const float* multiply_run(const float* run, int64_t row, int64_t length, const float* b,
                                              int64_t ahead, FloatVec (&sums)[Count][kVectors]) {
  FloatVec left[Count];
  int64_t k = 0;
#pragma GCC unroll 1
  for (; k + 4 <= length; k += 4, b += 4 * kWidth) {
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) left[i] = load_four(run + i * row + k);
    add_row<0, Prefetch>(left, b, ahead, sums);
    add_row<1, Prefetch>(left, b + kWidth, ahead, sums);
    add_row<2, Prefetch>(left, b + 2 * kWidth, ahead, sums);
    add_row<3, Prefetch>(left, b + 3 * kWidth, ahead, sums);
  }
#pragma GCC unroll 1
  for (; k < length; ++k, b += kWidth) {
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) left[i] = load_one(run + i * row + k);
    add_row<0, Prefetch>(left, b, ahead, sums);
  }
  return b;
}
#endif

// sums = A B for `Count` rows and kWidth columns, whose rows follow each other at `b`. Every sum is taken
// in the order of B's rows whatever Count is: results do not depend on how rows are grouped.
template <int Count, bool Prefetch>
STADX_ALWAYS_INLINE void multiply(const Rows& a, const float* __restrict b, int64_t ahead,
                                  FloatVec (&sums)[Count][kVectors]) {
#pragma GCC unroll 8
  for (int i = 0; i < Count; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[i][j] = FloatVec{};
  }
  for (int64_t s = 0; s < a.segments; ++s) {
    const float* __restrict run = a.data + s * a.segment;
#if defined(__aarch64__)
    b = multiply_run<Count, Prefetch>(run, a.row, a.length, b, ahead, sums);
#else
#pragma GCC unroll 1
    for (int64_t k = 0; k < a.length; ++k) {
      if constexpr (Prefetch) {
#pragma GCC unroll 4
        for (int j = 0; j < kWidth; j += 16) __builtin_prefetch(b + ahead + j, 0, 2);
      }
      FloatVec right[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) right[j] = load_vec(b + j * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < Count; ++i) {
        const FloatVec left = broadcast(run[i * a.row + k]);
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sums[i][j] += left * right[j];
      }
      b += kWidth;
    }
#endif
  }
}

template <int Count, bool Prefetch>
STADX_ALWAYS_INLINE void multiply(const Columns& a, const float* __restrict b, int64_t,
                                  FloatVec (&sums)[Count][kVectors]) {
#pragma GCC unroll 8
  for (int i = 0; i < Count; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[i][j] = FloatVec{};
  }
#pragma GCC unroll 1
  for (int64_t k = 0; k < a.length; ++k, b += kWidth) {
    FloatVec right[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) right[j] = load_vec(b + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) {
      const FloatVec left = broadcast(a.data[k * a.column + i]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums[i][j] += left * right[j];
    }
  }
}

template <int Count, bool Prefetch = false, typename Left, typename Store>
inline void multiply_and_store(const Left& a, const float* b, const Store& store) {
  FloatVec sums[Count][kVectors];
  multiply<Count, Prefetch>(a, b, a.depth() * kPanel, sums);
#pragma GCC unroll 8
  for (int i = 0; i < Count; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store(i, j * kLanes, sums[i][j]);
  }
}

// The last rows, where fewer than kRows are left; else does nothing and says so.
template <int... Counts, typename Left, typename Put>
inline bool multiply_few(std::integer_sequence<int, Counts...>, int64_t rows, const Left& a,
                         const float* columns, const Put& put) {
  return ((rows == Counts + 1 && (multiply_and_store<Counts + 1>(a, columns, put), true)) || ...);
}

// A B for `rows` rows and one panel, which holds kWidth columns after the other. store(row, column, vector)
// takes the sums. `Prefetch` what follows the panel, the next one.
template <bool Prefetch = true, typename Left, typename Store>
inline void multiply_panel(const Left& a, int64_t rows, const float* panel, const Store& store) {
  for (int64_t column = 0; column < kPanel; column += kWidth) {
    for (int64_t first = 0; first < rows; first += kRows) {
      const Left part = a.from(first);
      const auto put = [&](int i, int64_t j, FloatVec v) { store(first + i, column + j, v); };
      const float* columns = panel + column * a.depth();
      if (multiply_few(std::make_integer_sequence<int, kRows - 1>(), rows - first, part, columns, put))
        continue;
      if (Prefetch && first == 0)
        multiply_and_store<kRows, true>(part, columns, put);
      else
        multiply_and_store<kRows>(part, columns, put);
    }
  }
}

}  // namespace
}  // namespace stadx::STADX_ISA
