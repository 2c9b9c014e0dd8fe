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

// The state of labelling one mask. Bands of `band_rows` rows (2: corners connect; 1: they do not) hold runs,
// numbered from band · band_room on (kLabelPad of which are room for whole vectors); bits are those of the
// mask, `row_words` words of 64 columns a row, of which the last is zero.
struct LabelImage {
  MaskView mask;
  int64_t band_rows, bands, row_words, band_room;
  uint64_t* bits;          // [bands · band_rows][row_words]
  uint64_t* starts;        // [bands][row_words]: columns where a run of the band begins
  int32_t* runs_before;    // [bands][row_words]: number of the first run that begins in the word or after it
  int32_t* band_end;       // [bands]: one past the band's last run
  int32_t* parent;         // [bands · band_room]: in the union-find forest; in the end the label, from 1
  int32_t *first, *roots;  // [bands · band_room]: first pixel in raster order, of a run and of a region
};

inline constexpr int64_t kLabelPad = 8;

// Where label_gather puts the defect pixels of one image: score, region and the regions' areas.
struct DefectPixels {
  void* scores;      // [pixels]
  int32_t* regions;  // [pixels]: from first_region on
  int64_t* areas;    // [regions of the image], zero before
  int32_t first_region;
};

// 32 cells of equally many keys each.
struct CellWord {
  uint32_t cells;   // bit i: cell i holds a threshold; all bits, if some cell holds several
  uint32_t before;  // thresholds below the first cell
};

// Keys from base on, in cells of 2^shift.
struct ThresholdRange {
  uint64_t base;
  int64_t first_word;
  int shift;
};

// Thresholds e_0 < e_1 < … as ordered keys (common/score_key.h), and the way to them: keys from the lowest
// threshold on lie in steps of 2^step_shift, neighbouring steps in ranges of about equally many thresholds.
struct ThresholdTable {
  const void* keys;          // [size + kThresholdPad] of the scores' width; the pad is the largest key
  const uint16_t* range_of;  // [steps]
  const ThresholdRange* ranges;
  const CellWord* words;  // of all ranges, and one that tells where the last ends
  int64_t size;
  uint64_t base, top;  // the lowest threshold, and the key above the highest
  int step_shift;
  int64_t num_ranges;
  int64_t stride;  // of the two halves of the counts
};

inline constexpr int kThresholdsNear = 16;  // that the kernel compares a score with at once
inline constexpr int64_t kThresholdPad = 16;
inline constexpr int64_t kCountPad = 32;  // counts beyond the last to which 0 may be added

// Keys that wait for those of their range, so that what they are compared with is in the cache: only with
// several ranges.
struct KeyBuffers {
  void* keys;      // [num_ranges][kBufferStride]
  uint32_t* used;  // [num_ranges]: how many, below kBufferedKeys
};

inline constexpr int64_t kBufferedKeys = 4096;
// No power of two: the buffers' ends would share the cache's sets.
inline constexpr int64_t kBufferStride = kBufferedKeys + 16;

// Winograd's tiles of maps, as training has them. Tile t of image b begins at row (t / columns) · M, column
// (t % columns) · M of its map; its entry k and channel c are tiles[k · point +
// (b · rows · columns + t) · channels + c]. A map is [images, height, width, channels], contiguous; beyond it
// there are zeros.
struct WinogradTiles {
  float *map, *tiles;
  const float* bias;  // [channels], only for winograd_outputs
  int64_t point;      // from an entry of a tile to its next
  int64_t images, height, width, channels;
  int64_t rows, columns;  // of tiles, per image
  int tile, kernel;       // N and r; M = N − r + 1
};

// A convolution's weights and Winograd's of them: weight (i, j) of output o and channel c is
// kernels[((o · r + i) · r + j) · channels + c], entry k is points[k · point + o · channels + c].
struct WinogradWeights {
  float *kernels, *points;
  int64_t channels, point;
  int tile, kernel;  // N and r
};

// Products out = left · right of `rows` × `depth` and `depth` × `columns` matrices, row by row, or,
// transposed, column by column; from one product's to the next's are so many floats. Columns are a multiple
// of 16.
struct MatrixProducts {
  const float *left, *right;
  float* out;
  int64_t rows, depth, columns;
  int64_t left_step, right_step, out_step;
  bool left_transposed, right_transposed;
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

  // Labelling: find runs within bands [first, last) and join them (returns their pixels), join a band with
  // the one above, number the regions in raster order of their first pixels (returns how many). Then paint
  // labels [rows, width], or gather the defect pixels' scores.
  int64_t (*label_find)(const LabelImage&, int64_t first_band, int64_t last_band);
  void (*label_join)(const LabelImage&, int64_t band);
  int64_t (*label_number)(const LabelImage&);
  void (*label_paint)(const LabelImage&, int64_t first_band, int64_t last_band, int32_t* labels);
  void (*label_gather)(const LabelImage&, const void* map, int64_t row_stride, int element_size,
                       const DefectPixels&);

  // Adds to counts[i + 1] the scores between e_i and e_{i+1}, to counts[stride + i + 1] those equal to e_i;
  // scores below e_0 are nowhere. Returns the number of NaN. Some wait in the buffers until count_buffered.
  // `counts` must be emptied after 2^31 scores.
  int64_t (*count_scores_f32)(const float* scores, int64_t size, const ThresholdTable&, const KeyBuffers&,
                              uint32_t* counts);
  int64_t (*count_scores_f64)(const double* scores, int64_t size, const ThresholdTable&, const KeyBuffers&,
                              uint32_t* counts);
  void (*count_buffered_f32)(const ThresholdTable&, const KeyBuffers&, uint32_t* counts);
  void (*count_buffered_f64)(const ThresholdTable&, const KeyBuffers&, uint32_t* counts);

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

  // Item i is panel i % ⌈columns / kPanel⌉ of product i / that; `scratch` as above.
  int64_t (*matrix_products_scratch)(const MatrixProducts&);
  void (*matrix_products)(const MatrixProducts&, int64_t item, float* scratch);

  // Between maps and Winograd's tiles; `item` is a row of tiles, counted through the images. Inputs: tiles =
  // Bᵀ d B of N × N pixels. Outputs: map = Aᵀ v A + bias, M × M pixels.
  void (*winograd_inputs)(const WinogradTiles&, int64_t item);
  void (*winograd_outputs)(const WinogradTiles&, int64_t item);
  // Their transposes, for gradients: map = Σ B v Bᵀ where tiles overlap, `item` being 16 channels of one
  // image; and tiles = A y Aᵀ.
  void (*winograd_inputs_transposed)(const WinogradTiles&, int64_t item);
  void (*winograd_outputs_transposed)(const WinogradTiles&, int64_t item);
  // Of one output's weights: points = G w Gᵀ, and kernels = Gᵀ u G.
  void (*winograd_weights)(const WinogradWeights&, int64_t output);
  void (*winograd_weights_transposed)(const WinogradWeights&, int64_t output);
};

// The table in use, chosen at load from what the CPU can run; see dispatch.cpp.
const KernelTable& kernels();

}  // namespace stadx
