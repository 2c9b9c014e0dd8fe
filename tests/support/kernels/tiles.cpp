// Winograd's transforms as training has them, beside the same formulas in double precision; the transposes
// beside the transforms: ⟨L x, y⟩ = ⟨x, Lᵀ y⟩.
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
    return WinogradTiles{of_map.data(), of_tiles.data(), bias.data(), kImages,  kHeight, kWidth, kChannels,
                         rows,          columns,         N,           N - M + 1};
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

}  // namespace

void test_tiles() {
  test_one<10, 6>("tiles of training, F(6, 5)");
  test_one<10, 7>("tiles of training, F(7, 4)");
  test_one<8, 7>("tiles of training, F(7, 2)");
}

}  // namespace stadx_test
