// Winograd's transforms and products as training has them, beside the same formulas in double precision; the
// transposes beside the transforms: ⟨L x, y⟩ = ⟨x, Lᵀ y⟩.
#include <cmath>

#include "cpu/kernels.h"
#include "cpu/winograd.h"
#include "support.h"

using namespace stadx;

namespace stadx_test {
namespace {

constexpr int64_t kImages = 2, kHeight = 19, kWidth = 23, kChannels = 32;

double dot(const Floats& a, const Floats& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.size; ++i) sum += double{a[i]} * b[i];
  return sum;
}

// L in Lᵀ.
template <int From, int To, typename Apply>
void transform(const Apply& apply, const double* in, double* out) {
  double half[To][From];
  for (int j = 0; j < From; ++j) {
    double column[From], image[To];
    for (int i = 0; i < From; ++i) column[i] = in[i * From + j];
    apply(column, image);
    for (int i = 0; i < To; ++i) half[i][j] = image[i];
  }
  for (int i = 0; i < To; ++i) apply(half[i], out + i * To);
}

template <int N, int M>
void test_one(const char* what) {
  const int64_t rows = (kHeight + M - 1) / M, columns = (kWidth + M - 1) / M,
                count = kImages * rows * columns;
  const Floats map = std::move(Floats(kImages * kHeight * kWidth * kChannels).draw()), back(map.size);
  const Floats tiles(N * N * count * kChannels), values = std::move(Floats(tiles.size).draw());
  const Floats bias(kChannels);
  const auto arguments = [&](const Floats& of_map, const Floats& of_tiles) {
    WinogradTiles a{};
    a.map = of_map.data();
    a.tiles = of_tiles.data();
    a.bias = bias.data();
    a.point = count * kChannels;
    a.images = kImages;
    a.height = kHeight;
    a.width = kWidth;
    a.channels = kChannels;
    a.rows = rows;
    a.columns = columns;
    a.tile = N;
    a.kernel = N - M + 1;
    return a;
  };
  const auto items = [&](auto kernel, const WinogradTiles& a, int64_t size) {
    for (int64_t i = 0; i < size; ++i) kernel(a, i);
  };
  const KernelTable& table = kernels();
  const auto tile_pixel = [&](int64_t t, int i, int j, int64_t c) -> int64_t {  // -1: beyond the map
    const int64_t image = t / (rows * columns), y = t / columns % rows * M + i, x = t % columns * M + j;
    return y < kHeight && x < kWidth ? ((image * kHeight + y) * kWidth + x) * kChannels + c : -1;
  };
  double worst = 0;
  items(table.winograd_inputs, arguments(map, tiles), kImages * rows);
  items(table.winograd_outputs, arguments(back, values), kImages * rows);
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t c = 0; c < kChannels; ++c) {
      double in[N * N], out[N * N], y[M * M];
      for (int k = 0; k < N * N; ++k) {
        const int64_t pixel = tile_pixel(t, k / N, k % N, c);
        in[k] = pixel < 0 ? 0 : map[pixel];
      }
      transform<N, N>([](const double* v, double* w) { winograd_input<N>(v, w); }, in, out);
      for (int k = 0; k < N * N; ++k) {
        worst = std::max(worst, std::abs(tiles[(k * count + t) * kChannels + c] - out[k]));
        in[k] = values[(k * count + t) * kChannels + c];
      }
      transform<N, M>([](const double* v, double* w) { winograd_output<N, M>(v, w); }, in, y);
      for (int k = 0; k < M * M; ++k) {
        const int64_t pixel = tile_pixel(t, k / M, k % M, c);
        if (pixel >= 0) worst = std::max(worst, std::abs(back[pixel] - y[k]) / (1 + std::abs(y[k])));
      }
    }
  }
  check(what, worst < 1e-2, worst);

  const double inputs = dot(tiles, values), outputs = dot(back, map);  // before both are overwritten
  const Floats map_back(map.size), tiles_back(tiles.size);
  items(table.winograd_inputs_transposed, arguments(map_back, values), kImages * kChannels / 16);
  items(table.winograd_outputs_transposed, arguments(map, tiles_back), kImages * rows);
  const double scale = std::sqrt(dot(tiles, tiles) * dot(values, values));
  const double error =
      std::max(std::abs(dot(map, map_back) - inputs), std::abs(dot(tiles_back, values) - outputs));
  check("  their transposes", error < 1e-5 * scale, error / scale);
}

template <int N, int R>
void test_weights(const char* what) {
  constexpr int64_t kOutputs = 5, kPoint = kOutputs * kChannels + 3;  // matrices lie apart
  const Floats weights = std::move(Floats(kOutputs * R * R * kChannels).draw()), back(weights.size);
  const Floats points(N * N * kPoint), values = std::move(Floats(points.size).draw());
  const auto run = [&](auto kernel, const Floats& of_weights, const Floats& of_points) {
    const WinogradWeights a{of_weights.data(), of_points.data(), kChannels, kPoint, N, R};
    for (int64_t i = 0; i < kOutputs; ++i) kernel(a, i);
  };
  const KernelTable& table = kernels();
  run(table.winograd_weights, weights, points);
  run(table.winograd_weights_transposed, back, values);
  double worst = 0;
  for (int64_t o = 0; o < kOutputs; ++o) {
    for (int64_t c = 0; c < kChannels; ++c) {
      double in[N * N], out[N * N];
      const auto weight = [&](const Floats& w, int k) { return double{w[(o * R * R + k) * kChannels + c]}; };
      const auto point = [&](const Floats& p, int k) { return double{p[k * kPoint + o * kChannels + c]}; };
      for (int k = 0; k < R * R; ++k) in[k] = weight(weights, k);
      transform<R, N>([](const double* w, double* v) { winograd_weights<N, R>(w, v); }, in, out);
      for (int k = 0; k < N * N; ++k)
        worst = std::max(worst, std::abs(point(points, k) - out[k]) / (1 + std::abs(out[k])));
      for (int k = 0; k < N * N; ++k) in[k] = point(values, k);
      transform<N, R>([](const double* v, double* w) { winograd_weights_transposed<N, R>(v, w); }, in, out);
      for (int k = 0; k < R * R; ++k)
        worst = std::max(worst, std::abs(weight(back, k) - out[k]) / (1 + std::abs(out[k])));
    }
  }
  check(what, worst < 1e-4, worst);
}

void test_products(bool left_transposed, bool right_transposed) {
  constexpr int64_t kMatrices = 3, kRows = 13, kDepth = 37, kColumns = 80, kGap = 5;  // two panels, one of 16
  const int64_t left_step = kRows * kDepth + kGap, right_step = kDepth * kColumns + kGap,
                out_step = kRows * kColumns + kGap;
  const Floats left = std::move(Floats(kMatrices * left_step).draw()),
               right = std::move(Floats(kMatrices * right_step).draw()), out(kMatrices * out_step);
  const MatrixProducts a{left.data(), right.data(), out.data(), kRows,           kDepth,          kColumns,
                         left_step,   right_step,   out_step,   left_transposed, right_transposed};
  const KernelTable& table = kernels();
  const Floats scratch(table.matrix_products_scratch(a));
  for (int64_t i = 0; i < 2 * kMatrices; ++i) table.matrix_products(a, i, scratch.data());
  double worst = 0;
  for (int64_t n = 0; n < kMatrices; ++n) {
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t j = 0; j < kColumns; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < kDepth; ++k) {
          sum += double{left[n * left_step + (left_transposed ? k * kRows + i : i * kDepth + k)]} *
                 right[n * right_step + (right_transposed ? j * kDepth + k : k * kColumns + j)];
        }
        worst = std::max(worst, std::abs(out[n * out_step + i * kColumns + j] - sum));
      }
    }
    for (int64_t i = 0; i < kGap; ++i)
      worst = std::max(worst, std::abs(double{out[(n + 1) * out_step - 1 - i]}));
  }
  check("matrix products", worst < 1e-4, worst);
}

}  // namespace

void test_tiles() {
  test_one<10, 6>("tiles of training, F(6, 5)");
  test_one<10, 7>("tiles of training, F(7, 4)");
  test_one<8, 7>("tiles of training, F(7, 2)");
  test_weights<10, 5>("weights of training, F(6, 5)");
  test_weights<10, 4>("weights of training, F(7, 4)");
  test_weights<8, 4>("weights of training, F(5, 4)");
  test_weights<8, 2>("weights of training, F(7, 2)");
  for (const bool left : {false, true}) {
    for (const bool right : {false, true}) test_products(left, right);
  }
}

}  // namespace stadx_test
