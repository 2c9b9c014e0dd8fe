// The torch-free CPU kernels as one table of functions; there is one table per instruction set.
#pragma once

#include <cstdint>

#include "cpu/dense.h"

namespace stadx {

// One dense map: `data` points at [B, d, rows, width]; strides in elements, of the dimensions named.
struct MapView {
  const void* data;
  int64_t batch_stride, channel_stride, row_stride, pixel_stride;
};

// Arguments of ensemble_score: students[M] and teacher describe maps of one common shape [B, d, rows, width].
struct EnsembleScoreArgs {
  MapView students;        // the first student
  int64_t student_stride;  // from one student to the next
  int64_t num_students;
  MapView teacher;
  const float* mean;     // [d]
  const float* std_dev;  // [d]
  int64_t channels, rows, width;
  float* error;     // [B, rows, width], contiguous
  float* variance;  // [B, rows, width], contiguous
};

// Pixels that one call of an ensemble_score kernel covers: one block of one row of one image.
inline constexpr int64_t kScoreBlock = 4096;

// The mask of one image: rows of `width` integers of `element_size` bytes, `row_stride` elements apart.
struct MaskView {
  const void* data;
  int64_t rows, width, row_stride;
  int element_size;
};

// A horizontal run of mask pixels, [begin, end) in its row, and its parent in the union-find forest.
struct Run {
  int32_t begin, end, parent;
};

// One step of the PRO curve's sweep, from the highest score to the lowest.
struct ProCurveArgs {
  const void* scores;      // [n] float or double, sorted descending
  const int64_t* order;    // [n] pixel that each score came from
  const int32_t* regions;  // [n] by pixel: 0 background, else region 1 … num_regions
  int64_t size;
  const int64_t* region_sizes;  // [num_regions + 1]; entry 0 counts the background
  int64_t num_regions;
  bool drop_collinear;
  double *fpr, *pro, *thresholds;  // [n + 2] each
};

struct KernelTable {
  // Students and teacher with pixel_stride 1 (planar) or channel_stride 1 (channels last).
  // Covers pixels [block * kScoreBlock, …) of row `row` of image `image`.
  void (*ensemble_score_planar_f32)(const EnsembleScoreArgs&, int64_t image, int64_t row, int64_t block);
  void (*ensemble_score_planar_bf16)(const EnsembleScoreArgs&, int64_t image, int64_t row, int64_t block);
  void (*ensemble_score_channels_last_f32)(const EnsembleScoreArgs&, int64_t image, int64_t row,
                                           int64_t block);
  void (*ensemble_score_channels_last_bf16)(const EnsembleScoreArgs&, int64_t image, int64_t row,
                                            int64_t block);

  // Number of horizontal runs in the mask.
  int64_t (*count_runs)(const MaskView&);
  // Labels the regions in raster order into labels [rows, width]; `runs` has room for count_runs runs,
  // `row_begin` for rows + 1 numbers. Returns the number of regions.
  int64_t (*label_regions)(const MaskView&, bool eight_connected, Run* runs, int64_t* row_begin,
                           int32_t* labels);

  // Returns the number of curve points written.
  int64_t (*pro_curve_f32)(const ProCurveArgs&);
  int64_t (*pro_curve_f64)(const ProCurveArgs&);

  // Columns of packed weights that lie side by side: those that the matrix product keeps in registers.
  int64_t weight_width;

  // One convolution by Winograd's method, tile 8 or 10, in blocks [0, winograd_blocks); `scratch` has room
  // for winograd_scratch floats, 64-byte aligned, and is the calling thread's own. For a map, networks = 0.
  int64_t (*winograd_blocks)(const DenseLayer&, int tile);
  int64_t (*winograd_scratch)(const DenseLayer&, int tile, int64_t networks);
  void (*winograd_to_map)(const DenseLayer&, int tile, const DenseOutput&, int64_t block, float* scratch);
  void (*winograd_to_score)(const DenseScore&, int tile, int64_t block, float* scratch);

  // The same directly, in items [0, direct_rows); a map needs no scratch.
  int64_t (*direct_rows)(const DenseLayer&);
  int64_t (*direct_scratch)(const DenseLayer&, int64_t networks);
  void (*direct_to_map)(const DenseLayer&, const DenseOutput&, int64_t item);
  void (*direct_to_score)(const DenseScore&, int64_t item, float* scratch);
};

// The table in use, chosen at load from what the CPU can run; see dispatch.cpp.
const KernelTable& kernels();

}  // namespace stadx
