// Winograd convolution on phase maps: F(6×6, 5×5) and F(7×7, 4×4) as 100 matrix products, F(7×7, 2×2) as 64.
// A work item is a block of tiles that stays in the cache: transformed, multiplied point by point, and back.
#include "cpu/compiler.h"
#include "cpu/dense.h"
#include "cpu/dense_gemm.h"
#include "cpu/dense_score.h"
#include "cpu/vec.h"
#include "cpu/winograd.h"

namespace stadx::STADX_ISA {
namespace {

constexpr int kLine = 16 / kLanes;  // vectors of a cache line: streamed stores fill it in one go
constexpr int64_t kGap = 16;        // floats between matrices, and pixels: keeps them from sharing cache sets

// One tile: the phase it lies in and its first output there.
struct Tile {
  int64_t phase_row, phase_column, row, column;
};

// Phases innermost: phases of one place read the same input.
template <int M>
inline Tile tile_at(const DenseLayer& a, int64_t index) {
  const int64_t phases = a.out_phases, columns = (a.out_columns + M - 1) / M;
  const int64_t place = index / (phases * phases);
  return {index / phases % phases, index % phases, place / columns * M, place % columns * M};
}

template <int M>
inline int64_t tile_count(const DenseLayer& a) {
  return a.out_phases * a.out_phases * ((a.out_rows + M - 1) / M) * ((a.out_columns + M - 1) / M);
}

template <bool Pool>
STADX_ALWAYS_INLINE FloatVec read(const float* p, int64_t row, int64_t column) {
  if constexpr (!Pool) return load_vec(p);
  return max_vec(max_vec(load_vec(p), load_vec(p + column)),
                 max_vec(load_vec(p + row), load_vec(p + row + column)));
}

template <bool Pool>
inline void copy_pixel(const float* p, int64_t channels, int64_t row, int64_t column, float* out) {
  for (int64_t c = 0; c < channels; c += kLanes) store_vec(out + c, read<Pool>(p + c, row, column));
}

// Copies the (pooled) N×N input of a tile pixel by pixel, the order in which it lies in memory, with zeros
// beyond the input's end: results must not depend on what lies there. Pixels are `pixel` floats apart.
template <int N>
inline void copy_tile(const DenseLayer& a, const Tile& tile, float* out, int64_t pixel) {
  const PhaseMaps& in = a.input;
  const int64_t map_row = tile.phase_row % in.phases, shift_row = tile.phase_row / in.phases;
  const int64_t map_column = tile.phase_column % in.phases, shift_column = tile.phase_column / in.phases;
  const float* map = in.data + (map_row * in.phases + map_column) * in.rows * in.columns * in.channels;
  const bool pool = a.pool_shifts > 0;
  const int64_t rows = pool ? (in.rows - 1) / 2 : in.rows, columns = pool ? (in.columns - 1) / 2 : in.columns;
  const int64_t row_step = in.columns * in.channels;
  for (int i = 0; i < N; ++i) {
    for (int j = 0; j < N; ++j, out += pixel) {
      const int64_t row = a.row_offset + tile.row + i, column = a.column_offset + tile.column + j;
      if (row >= rows || column >= columns) {
        for (int64_t c = 0; c < in.channels; c += kLanes) store_vec(out + c, FloatVec{});
      } else if (pool) {
        const float* p = map + (2 * row + shift_row) * row_step + (2 * column + shift_column) * in.channels;
        copy_pixel<true>(p, in.channels, row_step, in.channels, out);
      } else {
        copy_pixel<false>(map + row * row_step + column * in.channels, in.channels, 0, 0, out);
      }
    }
  }
}

// Bᵀ d B of a copied tile: channel c of point k goes to out[k·point + c].
template <int N>
inline void transform_input(const float* copy, int64_t pixel, int64_t channels, float* out, int64_t point) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    FloatVec half[N][N];
    for (int j = 0; j < N; ++j) {
      FloatVec d[N], t[N];
      STADX_UNROLL
      for (int i = 0; i < N; ++i) d[i] = load_vec(copy + (i * N + j) * pixel + c);
      winograd_input<N>(d, t);
      STADX_UNROLL
      for (int i = 0; i < N; ++i) half[i][j] = t[i];
    }
    for (int i = 0; i < N; ++i) {
      FloatVec t[N];
      winograd_input<N>(half[i], t);
      STADX_UNROLL
      for (int j = 0; j < N; ++j) store_vec(out + (i * N + j) * point + c, t[j]);
    }
  }
}

// For `count` floats: the M outputs of N products `point` floats apart.
template <int N, int M>
inline void transform_output_rows(const float* in, float* out, int64_t count, int64_t point) {
  for (int64_t c = 0; c < count; c += kLanes) {
    FloatVec v[N], y[M];
    STADX_UNROLL
    for (int j = 0; j < N; ++j) v[j] = load_vec(in + j * point + c);
    winograd_output<N, M>(v, y);
    STADX_UNROLL
    for (int j = 0; j < M; ++j) store_vec(out + j * point + c, y[j]);
  }
}

// The other half of Aᵀ m A for one tile and the channels [first, end), bias and leaky ReLU: the first rows ×
// columns outputs, (i, j) at out + i·row + j·column. Entry (i, j) of the half transformed is at
// half + (i·M + j)·point.
template <int N, int M, bool Stream>
inline void transform_output_columns(const DenseLayer& a, int64_t first, int64_t end, const float* half,
                                     int64_t point, float* out, int64_t row, int64_t column, int64_t rows,
                                     int64_t columns) {
  for (int64_t c = first; c < end; c += kLine * kLanes, half += kLine * kLanes) {
    for (int64_t j = 0; j < columns; ++j) {
      FloatVec y[kLine][M];
      STADX_UNROLL
      for (int k = 0; k < kLine; ++k) {
        FloatVec v[N];
        STADX_UNROLL
        for (int i = 0; i < N; ++i) v[i] = load_vec(half + (i * M + j) * point + k * kLanes);
        winograd_output<N, M>(v, y[k]);
      }
      STADX_UNROLL
      for (int i = 0; i < M; ++i) {
        if (i >= rows) break;
        float* p = out + i * row + j * column + c;
        STADX_UNROLL
        for (int k = 0; k < kLine; ++k) {
          const FloatVec sum = y[k][i] + load_vec(a.bias + c + k * kLanes);
          const FloatVec value = max_vec(sum, a.slope * sum);
          if constexpr (Stream) {
            stream_vec(p + k * kLanes, value);
          } else {
            store_vec(p + k * kLanes, value);
          }
        }
      }
    }
  }
}

// Buffers of one thread; within them tiles follow each other and their channels lie together.
struct Scratch {
  float *in, *products, *half_out;  // [N][N][tiles][channels], [N][tiles][kPanel], [N][M][tiles][kPanel]
  float *copy, *descriptors;        // [N][N][pixel]; for scores [networks][tiles][M][M][outputs]
  int64_t in_point, out_point, pixel;
};

template <int N, int M>
inline Scratch divide(const DenseLayer& a, float* scratch) {
  Scratch s;
  s.in_point = kTilesPerBlock * a.input.channels + kGap;
  s.out_point = kTilesPerBlock * kPanel + kGap;
  s.pixel = a.input.channels + kGap;
  s.in = scratch;
  s.products = s.in + N * N * s.in_point;
  s.half_out = s.products + N * s.out_point;
  s.copy = s.half_out + N * M * s.out_point;
  s.descriptors = s.copy + N * N * s.pixel;
  return s;
}

// Convolves `count` tiles from `first` on. emit(t, begin, end, half) takes tile t's outputs of the channels
// [begin, end), half transformed. One panel and one row of points at a time: products stay in the cache.
template <int N, int M, typename Emit>
inline void convolve_tiles(const DenseLayer& a, int64_t first, int64_t count, const Scratch& s,
                           const Emit& emit) {
  const int64_t channels = a.input.channels, matrix = channels * kPanel;
  for (int64_t t = 0; t < count; ++t) {
    copy_tile<N>(a, tile_at<M>(a, first + t), s.copy, s.pixel);
    transform_input<N>(s.copy, s.pixel, channels, s.in + t * channels, s.in_point);
  }
  const float* weights = a.weights;
  for (int64_t begin = 0; begin < a.out_channels; begin += kPanel) {
    for (int64_t i = 0; i < N; ++i) {
      for (int64_t j = 0; j < N; ++j, weights += matrix) {
        const Rows left = {s.in + (i * N + j) * s.in_point, channels, 1, 0, channels};
        float* out = s.products + j * s.out_point;
        multiply_panel(left, count, weights, [&](int64_t t, int64_t column, FloatVec v) {
          store_vec(out + t * kPanel + column, v);
        });
      }
      transform_output_rows<N, M>(s.products, s.half_out + i * M * s.out_point, count * kPanel, s.out_point);
    }
    const int64_t end = a.out_channels - begin < kPanel ? a.out_channels : begin + kPanel;
    for (int64_t t = 0; t < count; ++t) emit(t, begin, end, s.half_out + t * kPanel);
  }
}

template <int M>
inline int64_t tiles_of_block(const DenseLayer& a, int64_t block) {
  const int64_t left = tile_count<M>(a) - block * kTilesPerBlock;
  return left < kTilesPerBlock ? left : kTilesPerBlock;
}

template <int N, int M>
void block_to_map(const DenseLayer& a, const DenseOutput& out, int64_t block, float* scratch) {
  const Scratch s = divide<N, M>(a, scratch);
  const int64_t first = block * kTilesPerBlock;
  convolve_tiles<N, M>(
      a, first, tiles_of_block<M>(a, block), s,
      [&](int64_t t, int64_t begin, int64_t end, const float* half) {
        const Tile tile = tile_at<M>(a, first + t);
        const int64_t rows = kept(tile.row, M, a.out_rows, tile.phase_row, out, out.row_limit);
        const int64_t columns = kept(tile.column, M, a.out_columns, tile.phase_column, out, out.column_limit);
        float* corner = out.data + tile.phase_row * out.phase_row + tile.phase_column * out.phase_column +
                        tile.row * out.row + tile.column * out.column;
        transform_output_columns<N, M, true>(a, begin, end, half, s.out_point, corner, out.row, out.column,
                                             rows, columns);
      });
  finish_streams();
}

template <int N, int M>
void block_to_score(const DenseScore& a, int64_t block, float* scratch) {
  const DenseLayer& teacher = a.layers[0];
  const Scratch s = divide<N, M>(teacher, scratch);
  const int64_t first = block * kTilesPerBlock, count = tiles_of_block<M>(teacher, block);
  const int64_t channels = teacher.out_channels, network = kTilesPerBlock * M * M * channels;
  for (int64_t n = 0; n < a.networks; ++n) {
    convolve_tiles<N, M>(a.layers[n], first, count, s,
                         [&](int64_t t, int64_t begin, int64_t end, const float* half) {
                           float* corner = s.descriptors + n * network + t * M * M * channels;
                           transform_output_columns<N, M, false>(a.layers[n], begin, end, half, s.out_point,
                                                                 corner, M * channels, channels, M, M);
                         });
  }
  const DenseOutput &e = a.error, &v = a.variance;
  for (int64_t t = 0; t < count; ++t) {
    const Tile tile = tile_at<M>(teacher, first + t);
    const int64_t rows = kept(tile.row, M, teacher.out_rows, tile.phase_row, e, e.row_limit);
    const int64_t columns = kept(tile.column, M, teacher.out_columns, tile.phase_column, e, e.column_limit);
    const int64_t corner = tile.phase_row * e.phase_row + tile.phase_column * e.phase_column +
                           tile.row * e.row + tile.column * e.column;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t pixel = corner + i * e.row + j * e.column;
        score_pixel(a, channels, s.descriptors + ((t * M + i) * M + j) * channels, network, e.data + pixel,
                    v.data + pixel);
      }
    }
  }
}

}  // namespace

int64_t winograd_blocks(const DenseLayer& a, int tile) {
  const int64_t tiles = tile - a.kernel == 5 ? tile_count<6>(a) : tile_count<7>(a);
  return (tiles + kTilesPerBlock - 1) / kTilesPerBlock;
}

int64_t winograd_scratch(const DenseLayer& a, int tile, int64_t networks) {
  const int64_t n = tile, m = tile - a.kernel + 1;
  return n * n * (kTilesPerBlock * a.input.channels + kGap) + (n + n * m) * (kTilesPerBlock * kPanel + kGap) +
         n * n * (a.input.channels + kGap) + networks * kTilesPerBlock * m * m * a.out_channels;
}

void winograd_to_map(const DenseLayer& a, int tile, const DenseOutput& out, int64_t block, float* scratch) {
  if (tile == 8) return block_to_map<8, 7>(a, out, block, scratch);
  if (a.kernel == 5) return block_to_map<10, 6>(a, out, block, scratch);
  block_to_map<10, 7>(a, out, block, scratch);
}

void winograd_to_score(const DenseScore& a, int tile, int64_t block, float* scratch) {
  if (tile == 8) return block_to_score<8, 7>(a, block, scratch);
  if (a.layers[0].kernel == 5) return block_to_score<10, 6>(a, block, scratch);
  block_to_score<10, 7>(a, block, scratch);
}

}  // namespace stadx::STADX_ISA
