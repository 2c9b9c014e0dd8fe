// Direct convolution on phase maps, where it wins: three input channels, 1×1, or a few outputs far apart.
// A work item is one row of outputs of one phase.
#include "cpu/dense.h"
#include "cpu/dense_gemm.h"
#include "cpu/dense_score.h"
#include "cpu/vec.h"

namespace stadx::STADX_ISA {
namespace {

struct OutputRow {
  int64_t phase_row, phase_column, row;
};

inline OutputRow row_at(const DenseLayer& a, int64_t item) {
  const int64_t phases = a.out_phases;
  return {item / phases % phases, item % phases, item / (phases * phases)};
}

// The first `columns` outputs of a row, `column` floats apart.
inline void convolve_row(const DenseLayer& a, const OutputRow& at, int64_t columns, float* out,
                         int64_t column) {
  const PhaseMaps& in = a.input;
  const int64_t step = in.columns * in.channels;
  const float* corner = in.data + (at.phase_row * in.phases + at.phase_column) * in.rows * step +
                        (a.row_offset + at.row * a.step) * step + a.column_offset * in.channels;
  const Rows windows = {corner, a.step * in.channels, a.kernel, step, a.kernel * in.channels};
  const int64_t depth = a.kernel * a.kernel * in.channels;
  for (int64_t first = 0; first < a.out_channels; first += kPanel) {
    multiply_panel(windows, columns, a.weights + first * depth, [&](int64_t j, int64_t c, FloatVec v) {
      if (first + c >= a.out_channels) return;
      const FloatVec sum = v + load_vec(a.bias + first + c);
      store_vec(out + j * column + first + c, max_vec(sum, a.slope * sum));
    });
  }
}

}  // namespace

int64_t direct_rows(const DenseLayer& a) { return a.out_phases * a.out_phases * a.out_rows; }

int64_t direct_scratch(const DenseLayer& a, int64_t networks) {
  return networks * a.out_columns * a.out_channels;
}

void direct_to_map(const DenseLayer& a, const DenseOutput& out, int64_t item) {
  const OutputRow at = row_at(a, item);
  if (kept(at.row, 1, a.out_rows, at.phase_row, out, out.row_limit) == 0) return;
  const int64_t columns = kept(0, a.out_columns, a.out_columns, at.phase_column, out, out.column_limit);
  convolve_row(
      a, at, columns,
      out.data + at.phase_row * out.phase_row + at.phase_column * out.phase_column + at.row * out.row,
      out.column);
}

void direct_to_score(const DenseScore& a, int64_t item, float* scratch) {
  const DenseLayer& teacher = a.layers[0];
  const DenseOutput &e = a.error, &v = a.variance;
  const OutputRow at = row_at(teacher, item);
  if (kept(at.row, 1, teacher.out_rows, at.phase_row, e, e.row_limit) == 0) return;
  const int64_t columns =
      kept(0, teacher.out_columns, teacher.out_columns, at.phase_column, e, e.column_limit);
  const int64_t channels = teacher.out_channels, network = teacher.out_columns * channels;
  for (int64_t n = 0; n < a.networks; ++n) {
    convolve_row(a.layers[n], at, columns, scratch + n * network, channels);
  }
  const int64_t corner = at.phase_row * e.phase_row + at.phase_column * e.phase_column + at.row * e.row;
  for (int64_t j = 0; j < columns; ++j) {
    const int64_t pixel = corner + j * e.column;
    score_pixel(a, channels, scratch + j * channels, network, e.data + pixel, v.data + pixel);
  }
}

}  // namespace stadx::STADX_ISA
