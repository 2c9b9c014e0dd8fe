// The torch-free CPU kernels beside plain loops, as one program for any processor; run.sh compiles and runs
// it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "common/half.h"
#include "common/score_key.h"
#include "cpu/dispatch.h"
#include "cpu/kernels.h"
#include "cpu/threshold_index.h"
#include "cpu/winograd.h"
#include "support.h"

using namespace stadx;
using namespace stadx_test;

namespace {

// Half: maps in bfloat16.
void test_ensemble_score(bool planar, bool half) {
  const int64_t students = 3, batch = 2, channels = 128, width = 37, image = channels * width;
  const Floats maps = std::move(Floats(students * batch * image).draw()),
               teacher = std::move(Floats(batch * image).draw());
  std::vector<uint16_t> half_maps, half_teacher;
  for (const auto& [floats, halves] : {std::pair{&maps, &half_maps}, {&teacher, &half_teacher}}) {
    for (int64_t i = 0; half && i < floats->size; ++i) {
      uint32_t bits = as_bits((*floats)[i]) & 0xFFFF0000u;
      (*floats)[i] = as_float(bits);
      halves->push_back(static_cast<uint16_t>(bits >> 16));
    }
  }
  const Floats mean = std::move(Floats(channels).draw()), deviation(channels), e(batch * width),
               v(batch * width);
  for (int64_t c = 0; c < channels; ++c) deviation[c] = 0.5f + 0.01f * static_cast<float>(c);
  const int64_t channel_step = planar ? width : 1, pixel_step = planar ? 1 : channels;
  const void *first = half ? static_cast<void*>(half_maps.data()) : maps.data(),
             *teachers = half ? static_cast<void*>(half_teacher.data()) : teacher.data();
  const EnsembleScoreArgs args{{first, image, channel_step, image, pixel_step},
                               batch * image,
                               students,
                               {teachers, image, channel_step, image, pixel_step},
                               mean.data(),
                               deviation.data(),
                               channels,
                               1,
                               width,
                               e.data(),
                               v.data()};
  const KernelTable& table = kernels();
  const auto kernel =
      half ? (planar ? table.ensemble_score_planar_bf16 : table.ensemble_score_channels_last_bf16)
           : (planar ? table.ensemble_score_planar_f32 : table.ensemble_score_channels_last_f32);
  double worst = 0;
  for (int64_t b = 0; b < batch; ++b) {
    kernel(args, b, 0, 0);
    for (int64_t x = 0; x < width; ++x) {
      double error = 0, squares = 0, norm = 0;
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t at = b * image + c * channel_step + x * pixel_step;
        double sum = 0;
        for (int64_t m = 0; m < students; ++m) {
          const double value = maps[m * batch * image + at];
          sum += value;
          squares += value * value;
        }
        const double difference = sum / students - (teacher[at] - mean[c]) / deviation[c];
        error += difference * difference;
        norm += sum / students * (sum / students);
      }
      const double variance = squares / students - norm;
      worst = std::max(
          {worst, std::abs(e[b * width + x] / error - 1), std::abs(v[b * width + x] / variance - 1)});
    }
  }
  std::printf(half ? "bfloat16 " : "float32 ");
  check(planar ? "ensemble_score, planar" : "ensemble_score, channels last", worst < 1e-5, worst);
}

// Regions in raster order of their first pixels, by filling.
std::vector<int32_t> flooded(const std::vector<uint8_t>& mask, int64_t rows, int64_t columns, bool corners,
                             int32_t& count) {
  std::vector<int32_t> labels(mask.size(), 0);
  count = 0;
  for (int64_t first = 0; first < rows * columns; ++first) {
    if (!mask[first] || labels[first]) continue;
    std::vector<int64_t> open{first};
    labels[first] = ++count;
    while (!open.empty()) {
      const int64_t y = open.back() / columns, x = open.back() % columns;
      open.pop_back();
      for (int64_t j = std::max<int64_t>(y - 1, 0); j <= std::min(y + 1, rows - 1); ++j) {
        for (int64_t i = std::max<int64_t>(x - 1, 0); i <= std::min(x + 1, columns - 1); ++i) {
          const int64_t next = j * columns + i;
          if ((corners || i == x || j == y) && mask[next] && !labels[next]) {
            labels[next] = count;
            open.push_back(next);
          }
        }
      }
    }
  }
  return labels;
}

void test_labels(bool corners, double share) {
  const int64_t rows = 61, columns = 147, band_rows = corners ? 2 : 1,
                bands = (rows + band_rows - 1) / band_rows;
  const int64_t row_words = (columns + 63) / 64 + 1, words = bands * row_words,
                room = columns / 2 + 1 + kLabelPad;
  std::vector<uint8_t> mask(rows * columns);
  for (auto& pixel : mask) pixel = std::bernoulli_distribution(share)(generator);
  std::vector<uint64_t> bits(words * band_rows), starts(words);
  std::vector<int32_t> before(words), end(bands), parent(bands * room), first(bands * room),
      roots(bands * room);
  std::vector<int32_t> labels(mask.size(), -1);
  const LabelImage image{{mask.data(), rows, columns, columns, 1},
                         band_rows,
                         bands,
                         row_words,
                         room,
                         bits.data(),
                         starts.data(),
                         before.data(),
                         end.data(),
                         parent.data(),
                         first.data(),
                         roots.data()};
  const int64_t half = bands / 2;
  int64_t pixels = kernels().label_find(image, 0, half) + kernels().label_find(image, half, bands);
  kernels().label_join(image, half);
  const int64_t found = kernels().label_number(image);
  kernels().label_paint(image, 0, bands, labels.data());
  int32_t count;
  const bool same = labels == flooded(mask, rows, columns, corners, count);
  pixels -= std::count(mask.begin(), mask.end(), 1);
  check(corners ? "label_regions, 8-connected" : "label_regions, 4-connected",
        same && found == count && pixels == 0);
}

// in_range: thresholds of a range; with several ranges the keys wait by range.
template <typename T, typename Count, typename Finish>
void test_counts(const char* what, const Count& kernel, const Finish& finish, int64_t in_range) {
  using Key = typename ScoreKey<T>::Key;
  std::vector<T> scores(20000), thresholds{T(-1), T(0), T(0.5), T(0.625), T(0.75)};
  for (auto& s : scores) s = std::round(std::normal_distribution<T>()(generator) * 8) / 8;
  scores[17] = NAN;
  std::vector<Key> keys;
  for (const T t : thresholds) keys.push_back(key_of_bits<T>(score_bits(t)));
  const ThresholdIndex<Key> index(keys, in_range);
  const ThresholdTable& table = index.table();
  std::vector<Key> waiting(table.num_ranges * kBufferStride);
  std::vector<uint32_t> used(table.num_ranges), counts(2 * table.stride), expected(2 * table.stride);
  const KeyBuffers buffers{waiting.data(), used.data()};
  const int64_t bad =
      kernel(scores.data(), static_cast<int64_t>(scores.size()), table, buffers, counts.data());
  finish(table, buffers, counts.data());
  for (const T s : scores) {
    if (std::isnan(s) || s < thresholds[0]) continue;
    const auto passed = std::upper_bound(thresholds.begin(), thresholds.end(), s) - thresholds.begin();
    ++expected[(thresholds[passed - 1] == s ? table.stride : 0) + passed];
  }
  check(what, bad == 1 && counts == expected);
}

template <int N>
double transform_weight(const float* w, int k, int l, int r) {  // entry (k, l) of G w Gᵀ
  double sum = 0;
  for (int i = 0; i < r; ++i) {
    for (int j = 0; j < r; ++j)
      sum += winograd_weight<N>(k, i, r) * w[i * r + j] * winograd_weight<N>(l, j, r);
  }
  return sum;
}

// One convolution with a leaky ReLU; tile 0 is the direct one. Weights are packed as pack_weights does.
// Pool: of an image twice as large, through 2 × 2 maxima.
void test_convolution(const char* what, int tile, int r, int64_t inputs = 16, bool pool = false) {
  const int64_t outputs = 80, rows = 23, columns = 29, out_rows = rows - r + 1, out_columns = columns - r + 1;
  const int64_t points = tile ? tile * tile : 1, depth = tile ? inputs : r * r * inputs,
                panels = (outputs + kPanel - 1) / kPanel;
  const int64_t width = kernels().weight_width;
  const int64_t whole_rows = pool ? 2 * rows + 1 : rows, whole_columns = pool ? 2 * columns + 1 : columns;
  const Floats whole = std::move(Floats(whole_rows * whole_columns * inputs).draw()),
               input(rows * columns * inputs), bias = std::move(Floats(outputs).draw());
  const Floats weight = std::move(Floats(outputs * inputs * r * r).draw()),
               packed(panels * points * kPanel * depth);
  for (int64_t i = 0; i < input.size; ++i) {
    const int64_t y = i / inputs / columns, x = i / inputs % columns, c = i % inputs;
    const auto at = [&](int64_t j, int64_t k) { return whole[(j * whole_columns + k) * inputs + c]; };
    input[i] = pool ? std::max({at(2 * y, 2 * x), at(2 * y, 2 * x + 1), at(2 * y + 1, 2 * x),
                                at(2 * y + 1, 2 * x + 1)})
                    : at(y, x);
  }
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t c = 0; c < inputs; ++c) {
      const float* w = &weight[(o * inputs + c) * r * r];
      const int64_t column = o % kPanel;
      float* first =
          &packed[o / kPanel * points * depth * kPanel + column / width * depth * width + column % width];
      for (int64_t i = 0; i < (tile ? points : r * r); ++i) {
        const int k = static_cast<int>(i) / std::max(tile, 1), l = static_cast<int>(i) % std::max(tile, 1);
        if (tile == 0) first[(i * inputs + c) * width] = w[i];
        if (tile == 8)
          first[i * depth * kPanel + c * width] = static_cast<float>(transform_weight<8>(w, k, l, r));
        if (tile == 10)
          first[i * depth * kPanel + c * width] = static_cast<float>(transform_weight<10>(w, k, l, r));
      }
    }
  }
  const Floats map(out_rows * out_columns * outputs);
  const DenseLayer layer{{whole.data(), 1, whole_rows, whole_columns, inputs},
                         pool,
                         0,
                         0,
                         r,
                         1,
                         packed.data(),
                         bias.data(),
                         0.005f,
                         1,
                         out_rows,
                         out_columns,
                         outputs};
  const DenseOutput out{map.data(), 0, 0, out_columns * outputs, outputs, 0, 1, out_rows, out_columns};
  if (tile == 0) {
    for (int64_t i = 0; i < kernels().direct_rows(layer); ++i) kernels().direct_to_map(layer, out, i);
  } else {
    const Floats scratch(kernels().winograd_scratch(layer, tile, 0));
    for (int64_t i = 0; i < kernels().winograd_blocks(layer, tile); ++i) {
      kernels().winograd_to_map(layer, tile, out, i, scratch.data());
    }
  }
  double worst = 0, squares = 0;
  for (int64_t y = 0; y < out_rows; ++y) {
    for (int64_t x = 0; x < out_columns; ++x) {
      for (int64_t o = 0; o < outputs; ++o) {
        double sum = bias[o];
        for (int64_t c = 0; c < inputs; ++c) {
          for (int i = 0; i < r * r; ++i) {
            sum += double{input[((y + i / r) * columns + x + i % r) * inputs + c]} *
                   weight[(o * inputs + c) * r * r + i];
          }
        }
        sum = std::max(sum, 0.005 * sum);
        squares += sum * sum;
        worst = std::max(worst, std::abs(map[(y * out_columns + x) * outputs + o] - sum));
      }
    }
  }
  worst /=
      std::sqrt(squares / static_cast<double>(out_rows * out_columns * outputs));  // the engine promises 1e-3
  check(what, worst < (tile ? 1e-3 : 1e-5), worst);
}

}  // namespace

int main() {
  for (const std::string& name : available_instruction_sets()) {
    set_instruction_set(name);
    std::printf("%s\n", name.c_str());
    for (const bool half : {false, true}) {
      test_ensemble_score(true, half);
      test_ensemble_score(false, half);
    }
    for (const double share : {0.05, 0.5}) {
      test_labels(true, share);
      test_labels(false, share);
    }
    for (const int64_t in_range : {5, 1}) {
      const KernelTable& table = kernels();
      test_counts<float>("count_scores, float", table.count_scores_f32, table.count_buffered_f32, in_range);
      test_counts<double>("count_scores, double", table.count_scores_f64, table.count_buffered_f64, in_range);
    }
    test_convolution("direct convolution, 4 x 4", 0, 4);
    test_convolution("direct convolution, 5 x 5, 3 channels", 0, 5, 3);
    test_convolution("Winograd, tile 10, 5 x 5", 10, 5);
    test_convolution("Winograd, tile 10, 5 x 5, through a pool", 10, 5, 16, true);
    test_convolution("Winograd, tile 10, 4 x 4", 10, 4);
    test_convolution("Winograd, tile 8, 2 x 2", 8, 2);
    test_tiles();
  }
  std::printf("%d wrong\n", failures);
  return failures != 0;
}
