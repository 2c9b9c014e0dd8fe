// One part of the CPU kernels, run a few times, for benchmarks/instructions.py to count its instructions:
//
//   instructions            lists the parts: number, units of one run, unit, name
//   instructions PART RUNS
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/score_key.h"
#include "cpu/dense_winograd_kernel.cpp"
#include "cpu/kernels.h"
#include "cpu/threshold_index.h"

namespace stadx::STADX_ISA {
namespace {

struct Part {
  std::string name;
  const char* unit;
  int64_t units;  // of one run
  std::function<void()> run;
};

// Zeros: only the labels' and the counts' instructions depend on values. Never freed.
float* floats(int64_t count) {
  const int64_t bytes = (count * 4 + 63) / 64 * 64;
  return static_cast<float*>(std::memset(std::aligned_alloc(64, bytes), 0, bytes));
}

void add_products(std::vector<Part>& parts) {
  const int64_t depth = 128;
  float *left = floats(kTilesPerBlock * depth), *panel = floats(depth * kPanel);
  float* out = floats(kTilesPerBlock * kPanel);
  for (const int64_t rows : {kTilesPerBlock, int64_t{3}}) {
    parts.push_back({"matrix product, " + std::to_string(rows) + " x 128 x 64", "multiply-add",
                     rows * depth * kPanel, [=] {
                       multiply_panel({left, depth, 1, 0, depth}, rows, panel,
                                      [&](int64_t row, int64_t column, FloatVec v) {
                                        store_vec(out + row * kPanel + column, v);
                                      });
                     }});
  }
}

void add_direct(std::vector<Part>& parts, const char* name, int64_t kernel, int64_t channels) {
  const int64_t size = 24, side = size + kernel - 1;
  DenseLayer layer{};
  layer.input = {floats(side * side * channels), 1, side, side, channels};
  layer.kernel = kernel;
  layer.step = 1;
  layer.weights = floats(kernel * kernel * channels * kPanel);
  layer.bias = floats(kPanel);
  layer.slope = 0.005f;
  layer.out_phases = 1;
  layer.out_rows = layer.out_columns = size;
  layer.out_channels = kPanel;
  const DenseOutput out{floats(size * size * kPanel), 0, 0, size * kPanel, kPanel, 0, 1, size, size};
  parts.push_back({name, "multiply-add", size * kPanel * kernel * kernel * channels,
                   [=] { kernels().direct_to_map(layer, out, 0); }});
}

template <int N, int M>
void add_stages(std::vector<Part>& parts) {
  const int64_t channels = 64, pixel = channels + kGap, side = 2 * N + 1;
  DenseLayer a{};
  a.input = {floats(side * side * channels), 1, side, side, channels};
  a.kernel = N - M + 1;
  a.step = 1;
  a.bias = floats(kPanel);
  a.slope = 0.005f;
  a.out_phases = 1;
  a.out_rows = a.out_columns = M;
  a.out_channels = kPanel;
  DenseLayer pooled = a;
  pooled.pool_shifts = 1;
  float *copy = floats(N * N * pixel), *in = floats(N * N * pixel), *half = floats(N * N * pixel);
  float* out = floats(N * N * pixel);
  const std::string name = "F(" + std::to_string(M) + ", " + std::to_string(N - M + 1) + "), ";
  parts.push_back({name + "copy", "input", N * N * channels, [=] { copy_tile<N>(a, {}, copy, pixel); }});
  parts.push_back({name + "copy through the pool", "input", N * N * channels,
                   [=] { copy_tile<N>(pooled, {}, copy, pixel); }});
  parts.push_back({name + "Bt d B", "input", N * N * channels,
                   [=] { transform_input<N>(copy, pixel, channels, in, pixel); }});
  parts.push_back({name + "At rows", "product", N * N * channels, [=] {
                     for (int64_t i = 0; i < N; ++i) {
                       transform_output_rows<N, M>(in + i * N * pixel, half + i * M * pixel, channels, pixel);
                     }
                   }});
  parts.push_back({name + "At columns", "output", M * M * kPanel, [=] {
                     transform_output_columns<N, M, true>(a, 0, kPanel, half, pixel, out, M * pixel, pixel, M,
                                                          M);
                   }});
}

void add_training(std::vector<Part>& parts) {
  const int64_t tiles = 4, channels = 16, height = 6, width = tiles * 6;
  const WinogradTiles a{floats(height * width * channels),
                        floats(100 * tiles * channels),
                        floats(channels),
                        1,
                        height,
                        width,
                        channels,
                        1,
                        tiles,
                        10,
                        5};
  const int64_t entries = 100 * tiles * channels;
  parts.push_back({"training, inputs", "entry", entries, [=] { kernels().winograd_inputs(a, 0); }});
  parts.push_back({"training, outputs", "entry", entries, [=] { kernels().winograd_outputs(a, 0); }});
  parts.push_back(
      {"training, inputs transposed", "entry", entries, [=] { kernels().winograd_inputs_transposed(a, 0); }});
  parts.push_back({"training, outputs transposed", "entry", entries,
                   [=] { kernels().winograd_outputs_transposed(a, 0); }});
}

void add_ensemble_scores(std::vector<Part>& parts) {
  const int64_t students = 3, channels = 128, width = 64, map = channels * width;
  float *maps = floats((students + 1) * map), *mean = floats(channels), *deviation = floats(channels);
  float *e = floats(width), *v = floats(width);
  for (int64_t c = 0; c < channels; ++c) deviation[c] = 1.0f + mean[c];
  const auto add = [&](const char* name, bool planar, auto kernel) {
    const int64_t channel = planar ? width : 1, pixel = planar ? 1 : channels;
    const EnsembleScoreArgs args{{maps + map, map, channel, map, pixel},
                                 map,
                                 students,
                                 {maps, map, channel, map, pixel},
                                 mean,
                                 deviation,
                                 channels,
                                 1,
                                 width,
                                 e,
                                 v};
    parts.push_back({name, "component", map, [=] { kernel(args, 0, 0, 0); }});
  };
  const KernelTable& table = kernels();
  add("ensemble_score, planar, float32", true, table.ensemble_score_planar_f32);
  add("ensemble_score, planar, bfloat16", true, table.ensemble_score_planar_bf16);
  add("ensemble_score, channels last, float32", false, table.ensemble_score_channels_last_f32);
  add("ensemble_score, channels last, bfloat16", false, table.ensemble_score_channels_last_bf16);
}

// A mask of discs, or one where every fourth pixel, drawn by a multiplication, is set.
void add_labels(std::vector<Part>& parts, bool noise) {
  constexpr int64_t kSide = 256, kBands = kSide / 2, kWords = kSide / 64 + 1,
                    kRoom = kSide / 2 + 1 + kLabelPad;
  auto* mask = new std::vector<uint8_t>(kSide * kSide);
  for (int64_t i = 0; i < kSide * kSide; ++i) {
    const int64_t y = i / kSide % 64 - 32, x = i % 64 - 32;
    const uint32_t drawn = static_cast<uint32_t>(i) * 2654435761u;
    (*mask)[i] = noise ? (drawn ^ drawn >> 15) * 2246822519u >> 30 == 0 : y * y + x * x < 100;
  }
  const auto numbers = [](int64_t count) { return new int32_t[count](); };
  const LabelImage image{{mask->data(), kSide, kSide, kSide, 1},
                         2,
                         kBands,
                         kWords,
                         kRoom,
                         new uint64_t[kSide * kWords](),
                         new uint64_t[kBands * kWords](),
                         numbers(kBands * kWords),
                         numbers(kBands),
                         numbers(kBands * kRoom),
                         numbers(kBands * kRoom),
                         numbers(kBands * kRoom)};
  int32_t* labels = numbers(kSide * kSide);
  const std::string name = noise ? "labels of noise, " : "labels of discs, ";
  const auto find = [=] { kernels().label_find(image, 0, kBands); };
  // Numbering needs the runs as found; painting needs them numbered.
  parts.push_back({name + "find", "pixel", kSide * kSide, find});
  parts.push_back({name + "find and number", "pixel", kSide * kSide, [=] {
                     find();
                     kernels().label_number(image);
                   }});
  parts.push_back({name + "paint", "pixel", kSide * kSide, [=, ready = false]() mutable {
                     if (!ready) find();
                     ready = true;
                     kernels().label_paint(image, 0, kBands, labels);
                   }});
}

// Scores of which one in `every` reaches the lowest of 64 thresholds.
template <typename T, typename Count>
void add_counts(std::vector<Part>& parts, const char* name, int64_t every, const Count& count) {
  using Key = typename ScoreKey<T>::Key;
  constexpr int64_t kScores = 16384, kThresholds = 64;
  auto *scores = new std::vector<T>, *thresholds = new std::vector<Key>;
  for (int64_t i = 0; i < kScores; ++i) {
    scores->push_back(
        static_cast<T>(i * 7919 % every == 0 ? 1.0 + static_cast<double>(i * 31 % 997) / 997 : 0.25));
  }
  for (int64_t i = 0; i < kThresholds; ++i) {
    thresholds->push_back(
        key_of_bits<T>(score_bits(static_cast<T>(1.0 + static_cast<double>(i) / kThresholds))));
  }
  const auto* index = new ThresholdIndex<Key>(*thresholds, kThresholds);
  auto* counts = new uint32_t[2 * index->table().stride]();
  parts.push_back({name, "score", kScores,
                   [=] { count(scores->data(), kScores, index->table(), KeyBuffers{}, counts); }});
}

std::vector<Part> all_parts() {
  std::vector<Part> parts;
  add_products(parts);
  add_direct(parts, "direct, 5 x 5, 3 channels", 5, 3);
  add_direct(parts, "direct, 1 x 1, 256 channels", 1, 256);
  add_stages<10, 6>(parts);
  add_stages<8, 7>(parts);
  add_training(parts);
  add_ensemble_scores(parts);
  add_labels(parts, false);
  add_labels(parts, true);
  add_counts<float>(parts, "count_above, float32, 1 in 64 counted", 64, kernels().count_scores_f32);
  add_counts<float>(parts, "count_above, float32, all counted", 1, kernels().count_scores_f32);
  add_counts<double>(parts, "count_above, float64, 1 in 64 counted", 64, kernels().count_scores_f64);
  return parts;
}

}  // namespace
}  // namespace stadx::STADX_ISA

int main(int count, char** arguments) {
  const auto parts = stadx::STADX_ISA::all_parts();
  if (count < 3) {
    for (size_t i = 0; i < parts.size(); ++i) {
      std::printf("%zu\t%lld\t%s\t%s\n", i, static_cast<long long>(parts[i].units), parts[i].unit,
                  parts[i].name.c_str());
    }
    return 0;
  }
  const auto& part = parts.at(static_cast<size_t>(std::atoi(arguments[1])));
  for (int i = std::atoi(arguments[2]); i > 0; --i) part.run();
}
