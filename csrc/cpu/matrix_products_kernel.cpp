// Many matrix products of one size, for training: those between Winograd's transforms.
#include "cpu/compiler.h"
#include "cpu/dense.h"
#include "cpu/dense_gemm.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"

namespace stadx::STADX_ISA {
namespace {

// kLanes columns of B, which lie one after the other, or zeros.
void pack_transposed(const MatrixProducts& a, const float* columns, bool given, float* out) {
  int64_t k = 0;
  for (; k + kLanes <= a.depth; k += kLanes) {
    FloatVec block[kLanes];
    STADX_UNROLL
    for (int i = 0; i < kLanes; ++i) block[i] = given ? load_vec(columns + i * a.depth + k) : FloatVec{};
    transpose(block);
    STADX_UNROLL
    for (int i = 0; i < kLanes; ++i) store_vec(out + (k + i) * kWidth, block[i]);
  }
  for (; k < a.depth; ++k) {
    for (int i = 0; i < kLanes; ++i) out[k * kWidth + i] = given ? columns[i * a.depth + k] : 0.0f;
  }
}

// Columns [first, first + count) of B as multiply_panel reads them, zeros up to kPanel.
void pack_panel(const MatrixProducts& a, const float* b, int64_t first, int64_t count, float* panel) {
  for (int64_t column = 0; column < kPanel; column += kWidth, panel += a.depth * kWidth) {
    const int64_t here = count - column < kWidth ? count - column : kWidth;
    if (here <= 0) {
      for (int64_t i = 0; i < a.depth * kWidth; i += kLanes) store_vec(panel + i, FloatVec{});
      continue;
    }
    if (!a.right_transposed) {
      const float* from = b + first + column;
      for (int64_t k = 0; k < a.depth; ++k, from += a.columns) {
        float* to = panel + k * kWidth;
        for (int64_t j = 0; j < kWidth; j += kLanes)
          store_vec(to + j, j < here ? load_vec(from + j) : FloatVec{});
      }
      continue;
    }
    for (int64_t j = 0; j < kWidth; j += kLanes)
      pack_transposed(a, b + (first + column + j) * a.depth, j < here, panel + j);
  }
}

}  // namespace

int64_t matrix_products_scratch(const MatrixProducts& a) { return a.depth * kPanel; }

void matrix_products(const MatrixProducts& a, int64_t item, float* scratch) {
  const int64_t panels = (a.columns + kPanel - 1) / kPanel, matrix = item / panels;
  const int64_t first = item % panels * kPanel;
  const int64_t count = a.columns - first < kPanel ? a.columns - first : kPanel;
  pack_panel(a, a.right + matrix * a.right_step, first, count, scratch);
  const float* left = a.left + matrix * a.left_step;
  float* out = a.out + matrix * a.out_step + first;
  const auto store = [&](int64_t row, int64_t column, FloatVec v) {
    if (column < count) store_vec(out + row * a.columns + column, v);
  };
  if (a.left_transposed) {
    multiply_panel<false>(Columns{left, a.rows, a.depth}, a.rows, scratch, store);
  } else {
    multiply_panel<false>(Rows{left, a.depth, 1, 0, a.depth}, a.rows, scratch, store);
  }
}

}  // namespace stadx::STADX_ISA
