// Where the Winograd kernel's time goes, stage by stage. Build and run from the project's root:
//
//   g++ -O3 -std=c++20 -ffp-contract=fast -fno-math-errno -mavx2 -mfma -DSTADX_ISA=avx2 \
//     -Icsrc benchmarks/winograd_stages.cpp -o stages -lpthread && ./stages
//
// or, for AVX-512, with -mavx512f -mavx512bw -mavx512dq -mavx512vl and -DSTADX_ISA=avx512.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "../csrc/cpu/dense_winograd_kernel.cpp"

namespace stadx::STADX_ISA {
namespace {

constexpr int kThreads = 2, kStages = 5, kRounds = 9;
const char* const kNames[kStages] = {"copy", "Bt d B", "products", "At rows", "At columns"};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

float* buffer(int64_t floats) {
  float* data = static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64));
  for (int64_t i = 0; i < floats; ++i) data[i] = 0.01f * static_cast<float>(i % 17);
  return data;
}

// convolve_tiles and the output with a clock between the stages.
template <int N, int M>
void timed_block(const DenseLayer& a, const DenseOutput& out, int64_t block, float* scratch,
                 double* seconds) {
  const Scratch s = divide<N, M>(a, scratch);
  const int64_t first = block * kTilesPerBlock, count = tiles_of_block<M>(a, block),
                channels = a.input.channels;
  double last = now();
  const auto lap = [&](int stage) {
    const double time = now();
    seconds[stage] += time - last;
    last = time;
  };
  for (int64_t t = 0; t < count; ++t) {
    copy_tile<N>(a, tile_at<M>(a, first + t), s.copy, s.pixel);
    lap(0);
    transform_input<N>(s.copy, s.pixel, channels, s.in + t * channels, s.in_point);
    lap(1);
  }
  const float* weights = a.weights;
  for (int64_t begin = 0; begin < a.out_channels; begin += kPanel) {
    for (int64_t i = 0; i < N; ++i) {
      for (int64_t j = 0; j < N; ++j, weights += channels * kPanel) {
        const Rows left = {s.in + (i * N + j) * s.in_point, channels, 1, 0, channels};
        float* products = s.products + j * s.out_point;
        multiply_panel(left, count, weights, [&](int64_t t, int64_t column, FloatVec v) {
          store_vec(products + t * kPanel + column, v);
        });
      }
      lap(2);
      transform_output_rows<N, M>(s.products, s.half_out + i * M * s.out_point, count * kPanel, s.out_point);
      lap(3);
    }
    const int64_t end = std::min(a.out_channels, begin + kPanel);
    for (int64_t t = 0; t < count; ++t) {
      const Tile tile = tile_at<M>(a, first + t);
      const int64_t rows = kept(tile.row, M, a.out_rows, tile.phase_row, out, out.row_limit);
      const int64_t columns = kept(tile.column, M, a.out_columns, tile.phase_column, out, out.column_limit);
      float* corner = out.data + tile.phase_row * out.phase_row + tile.phase_column * out.phase_column +
                      tile.row * out.row + tile.column * out.column;
      transform_output_columns<N, M, true>(a, begin, end, s.half_out + t * kPanel, s.out_point, corner,
                                           out.row, out.column, rows, columns);
    }
    lap(4);
  }
}

template <int N, int M>
void layer(const char* name, int64_t phases, int64_t pool_shifts, int64_t size, int64_t channels,
           int64_t outputs) {
  const int64_t kernel = N - M + 1, side = pool_shifts ? 2 * (size + kernel - 1) + 1 : size + kernel - 1;
  DenseLayer a{};
  a.input = {buffer(phases * phases * side * side * channels), phases, side, side, channels};
  a.pool_shifts = pool_shifts;
  a.kernel = kernel;
  a.step = 1;
  a.weights = buffer(N * N * channels * outputs);
  a.bias = buffer(outputs);
  a.slope = 0.005f;
  a.out_phases = phases * std::max<int64_t>(pool_shifts, 1);
  a.out_rows = a.out_columns = size;
  a.out_channels = outputs;
  const int64_t row = size * outputs, map = size * row;
  const DenseOutput out = {
      buffer(a.out_phases * a.out_phases * map), a.out_phases * map, map, row, outputs, 0, 1, size, size};
  std::vector<double> best(kStages, 1e9);
  double best_total = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    double seconds[kThreads][kStages] = {};
    std::atomic<int64_t> next{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        float* scratch = buffer(winograd_scratch(a, N, 0));
        for (int64_t i = next++; i < winograd_blocks(a, N); i = next++) {
          timed_block<N, M>(a, out, i, scratch, seconds[t]);
        }
        std::free(scratch);
      });
    }
    for (std::thread& thread : threads) thread.join();
    double total = 0.0;
    for (int k = 0; k < kStages; ++k) {
      double mean = 0.0;
      for (auto& of_thread : seconds) mean += of_thread[k] / kThreads;
      best[k] = std::min(best[k], mean);
      total += mean;
    }
    best_total = std::min(best_total, total);
  }
  const double operations = 2.0 * N * N * static_cast<double>(tile_count<M>(a) * channels * outputs);
  std::printf("%-10s %6.1f ms:", name, best_total * 1e3);
  for (int k = 0; k < kStages; ++k) std::printf("  %s %.1f", kNames[k], best[k] * 1e3);
  std::printf("  (products %.1f GFLOP at %.0f GFLOP/s)\n", operations / 1e9, operations / best[2] / 1e9);
  for (const float* data : {a.input.data, a.weights, a.bias, static_cast<const float*>(out.data)}) {
    std::free(const_cast<float*>(data));
  }
}

}  // namespace
}  // namespace stadx::STADX_ISA

int main() {  // the layers of a 256 x 256 image
  using namespace stadx::STADX_ISA;
  layer<10, 6>("17 conv2", 1, 0, 263, 128, 256);
  layer<10, 6>("17 conv3", 1, 0, 259, 256, 256);
  layer<10, 7>("17 conv4", 1, 0, 256, 256, 128);
  layer<10, 6>("33 conv2", 1, 2, 137, 128, 256);
  layer<8, 7>("33 conv3", 2, 2, 67, 256, 256);
  layer<10, 7>("33 conv4", 4, 0, 64, 256, 128);
  layer<10, 6>("65 conv2", 1, 2, 151, 128, 128);
  layer<10, 6>("65 conv3", 2, 2, 71, 128, 128);
  layer<10, 7>("65 conv4", 4, 2, 32, 128, 256);
}
