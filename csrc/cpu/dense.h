// Arguments of the dense engine's kernels: one convolution of a patch network, over all phases of one image.
#pragma once

#include <cstdint>

namespace stadx {

inline constexpr int64_t kChannelBlock =
    16;                                // channels of maps between layers are padded to a multiple of this
inline constexpr int64_t kPanel = 64;  // output channels that packed weights hold side by side
inline constexpr int64_t kTilesPerBlock = 24;  // Winograd tiles of one work item

// Maps of all phases: float [phases, phases, rows, columns, channels], contiguous.
struct PhaseMaps {
  const float* data;
  int64_t phases, rows, columns, channels;
};

// Where a layer's outputs go. Output (i, j) of phase (a, b) is element
// a·phase_row + b·phase_column + i·row + j·column; it is kept where a·phase_step + i·index_step < row_limit,
// and likewise b and j.
struct DenseOutput {
  float* data;
  int64_t phase_row, phase_column, row, column;
  int64_t phase_step, index_step, row_limit, column_limit;
};

struct DenseLayer {
  PhaseMaps input;
  int64_t pool_shifts;  // 0: no pooling; 1 or 2: input is read through 2×2 max-pools, shifted by 0 (or 1)
  int64_t row_offset, column_offset;  // (pooled) input position under the first weight of output 0
  int64_t kernel, step;               // step: of the window from output to output; 1 for Winograd
  const float* weights;               // as pack_weights lays them out for the kernels in use
  const float* bias;                  // [out_channels]
  float slope;                        // of the leaky ReLU; 1 for none
  int64_t out_phases, out_rows, out_columns;
  int64_t out_channels;  // multiple of kChannelBlock
};

// e and v of the descriptors that the last layers of teacher (first) and students give.
struct DenseScore {
  const DenseLayer* layers;  // alike but for input, weights and bias
  int64_t networks;
  const float *mean, *std_dev;  // [out_channels]
  DenseOutput error, variance;  // their strides count pixels
};

}  // namespace stadx
