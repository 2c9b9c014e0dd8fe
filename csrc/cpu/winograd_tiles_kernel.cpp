// Winograd's transforms between maps and tiles, and of weights, and their transposes, for training; the
// products between them are matrix_products'. Takes one cache line of channels at a time: all tiles are
// written in whole lines.
#include "cpu/compiler.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"
#include "cpu/winograd.h"

namespace stadx::STADX_ISA {
namespace {

constexpr int kLine = 16;  // floats of a cache line
constexpr int kParts = kLine / kLanes;

// A cache line: 16 channels.
struct Line {
  FloatVec part[kParts];
};

#define STADX_EACH_PART \
  STADX_UNROLL          \
  for (int q = 0; q < kParts; ++q)

STADX_ALWAYS_INLINE Line load_line(const float* p) {
  Line line;
  STADX_EACH_PART line.part[q] = load_vec(p + q * kLanes);
  return line;
}

STADX_ALWAYS_INLINE void store_line(float* p, const Line& line) {
  STADX_EACH_PART store_vec(p + q * kLanes, line.part[q]);
}

STADX_ALWAYS_INLINE Line operator*(float a, Line b) {
  STADX_EACH_PART b.part[q] = a * b.part[q];
  return b;
}

STADX_ALWAYS_INLINE Line operator+(Line a, const Line& b) {
  STADX_EACH_PART a.part[q] += b.part[q];
  return a;
}

STADX_ALWAYS_INLINE Line operator-(Line a, const Line& b) {
  STADX_EACH_PART a.part[q] -= b.part[q];
  return a;
}

STADX_ALWAYS_INLINE Line& operator+=(Line& a, const Line& b) {
  STADX_EACH_PART a.part[q] += b.part[q];
  return a;
}

// out = L in Lᵀ for the L that `apply` multiplies by, From × From to To × To lines: get(i, j) gives an entry,
// put(i, j, line) takes one.
template <int From, int To, typename Apply, typename Get, typename Put>
STADX_ALWAYS_INLINE void transform(const Apply& apply, const Get& get, const Put& put) {
  Line half[To][From];
  for (int j = 0; j < From; ++j) {
    Line in[From], out[To];
    STADX_UNROLL
    for (int i = 0; i < From; ++i) in[i] = get(i, j);
    apply(in, out);
    STADX_UNROLL
    for (int i = 0; i < To; ++i) half[i][j] = out[i];
  }
  for (int i = 0; i < To; ++i) {
    Line out[To];
    apply(half[i], out);
    STADX_UNROLL
    for (int j = 0; j < To; ++j) put(i, j, out[j]);
  }
}

// Where one tile lies: its pixels within the map, and its first entry.
struct Place {
  float *map, *tiles;
  int64_t rows, columns;  // pixels from its first one to the map's end
};

template <int M>
inline Place place_of(const WinogradTiles& a, int64_t image, int64_t row, int64_t column) {
  const int64_t top = row * M, left = column * M;
  return {a.map + ((image * a.height + top) * a.width + left) * a.channels,
          a.tiles + ((image * a.rows + row) * a.columns + column) * a.channels, a.height - top,
          a.width - left};
}

template <int N, int M, bool Output, bool Transposed>
void one_tile(const WinogradTiles& a, const Place& place, int64_t c, bool above, bool before) {
  const int64_t row_step = a.width * a.channels, point = a.point;
  float *map = place.map + c, *tiles = place.tiles + c;
  const auto inside = [&](int i, int j) { return i < place.rows && j < place.columns; };
  const auto pixel = [&](int i, int j) { return map + i * row_step + j * a.channels; };
  const auto get_pixel = [&](int i, int j) { return inside(i, j) ? load_line(pixel(i, j)) : Line{}; };
  const auto get_entry = [&](int i, int j) { return load_line(tiles + (i * N + j) * point); };
  const auto put_entry = [&](int i, int j, const Line& v) { store_line(tiles + (i * N + j) * point, v); };
  if constexpr (Output && Transposed) {
    transform<M, N>([](const Line* in, Line* out) { winograd_output_transposed<N, M>(in, out); }, get_pixel,
                    put_entry);
  } else if constexpr (Output) {
    const Line bias = load_line(a.bias + c);
    transform<N, M>([](const Line* in, Line* out) { winograd_output<N, M>(in, out); }, get_entry,
                    [&](int i, int j, const Line& y) {
                      if (inside(i, j)) store_line(pixel(i, j), y + bias);
                    });
  } else if constexpr (Transposed) {
    // tiles above and before this one have been here already
    transform<N, N>([](const Line* in, Line* out) { winograd_input_transposed<N>(in, out); }, get_entry,
                    [&](int i, int j, const Line& d) {
                      if (!inside(i, j)) return;
                      const bool again = (above && i < N - M) || (before && j < N - M);
                      store_line(pixel(i, j), again ? load_line(pixel(i, j)) + d : d);
                    });
  } else {
    transform<N, N>([](const Line* in, Line* out) { winograd_input<N>(in, out); }, get_pixel, put_entry);
  }
}

template <int N, int M, bool Output, bool Transposed>
void run(const WinogradTiles& a, int64_t item) {
  if constexpr (!Output && Transposed) {  // neighbours share pixels: all tiles of an image for some channels
    const int64_t lines = a.channels / kLine, image = item / lines, c = item % lines * kLine;
    for (int64_t row = 0; row < a.rows; ++row) {
      for (int64_t column = 0; column < a.columns; ++column)
        one_tile<N, M, Output, Transposed>(a, place_of<M>(a, image, row, column), c, row > 0, column > 0);
    }
  } else {
    const int64_t image = item / a.rows, row = item % a.rows;
    for (int64_t column = 0; column < a.columns; ++column) {
      const Place place = place_of<M>(a, image, row, column);
      for (int64_t c = 0; c < a.channels; c += kLine)
        one_tile<N, M, Output, Transposed>(a, place, c, false, false);
    }
  }
}

template <bool Output, bool Transposed>
void dispatch(const WinogradTiles& a, int64_t item) {
  switch (a.tile * 10 + a.kernel) {
    case 82:
      return run<8, 7, Output, Transposed>(a, item);
    case 84:
      return run<8, 5, Output, Transposed>(a, item);
    case 85:
      return run<8, 4, Output, Transposed>(a, item);
    case 102:
      return run<10, 9, Output, Transposed>(a, item);
    case 104:
      return run<10, 7, Output, Transposed>(a, item);
    default:
      return run<10, 6, Output, Transposed>(a, item);
  }
}

template <int N, int R, bool Transposed>
void weights_of_output(const WinogradWeights& a, int64_t output) {
  float *kernel = a.kernels + output * R * R * a.channels, *point = a.points + output * a.channels;
  for (int64_t c = 0; c < a.channels; c += kLine) {
    const auto weight = [&](int i, int j) { return kernel + (i * R + j) * a.channels + c; };
    const auto entry = [&](int i, int j) { return point + (i * N + j) * a.point + c; };
    if constexpr (Transposed) {
      transform<N, R>([](const Line* in, Line* out) { winograd_weights_transposed<N, R>(in, out); },
                      [&](int i, int j) { return load_line(entry(i, j)); },
                      [&](int i, int j, const Line& v) { store_line(weight(i, j), v); });
    } else {
      transform<R, N>([](const Line* in, Line* out) { winograd_weights<N, R>(in, out); },
                      [&](int i, int j) { return load_line(weight(i, j)); },
                      [&](int i, int j, const Line& v) { store_line(entry(i, j), v); });
    }
  }
}

template <bool Transposed>
void dispatch(const WinogradWeights& a, int64_t item) {
  switch (a.tile * 10 + a.kernel) {
    case 82:
      return weights_of_output<8, 2, Transposed>(a, item);
    case 84:
      return weights_of_output<8, 4, Transposed>(a, item);
    case 85:
      return weights_of_output<8, 5, Transposed>(a, item);
    case 102:
      return weights_of_output<10, 2, Transposed>(a, item);
    case 104:
      return weights_of_output<10, 4, Transposed>(a, item);
    default:
      return weights_of_output<10, 5, Transposed>(a, item);
  }
}

}  // namespace

void winograd_weights(const WinogradWeights& a, int64_t output) { dispatch<false>(a, output); }

void winograd_weights_transposed(const WinogradWeights& a, int64_t output) { dispatch<true>(a, output); }

void winograd_inputs(const WinogradTiles& a, int64_t item) { dispatch<false, false>(a, item); }

void winograd_outputs(const WinogradTiles& a, int64_t item) { dispatch<true, false>(a, item); }

void winograd_inputs_transposed(const WinogradTiles& a, int64_t item) { dispatch<false, true>(a, item); }

void winograd_outputs_transposed(const WinogradTiles& a, int64_t item) { dispatch<true, true>(a, item); }

}  // namespace stadx::STADX_ISA
