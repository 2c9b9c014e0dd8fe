// stadx::count_above: how many scores of a set are above each of many thresholds, and how many equal it.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "common/score_key.h"
#include "cpu/kernels.h"
#include "ops/operator.h"
#include "ops/score_checks.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kItem = int64_t{1} << 17;   // scores of one work item
constexpr int64_t kFlush = int64_t{1} << 31;  // scores after which 32-bit counts are emptied
constexpr int kSteps = 12;                    // of the keys, as a power of two: which range each is in
constexpr int64_t kFewThresholds = 1 << 14;   // whose tables stay in the cache anyway
constexpr int64_t kInRange = 1024;            // thresholds whose tables stay in the L1 cache
constexpr int64_t kMostRanges = 1 << 11;      // a line of each stays in the L2 cache

// The thresholds as keys, and the way to them.
template <typename T>
struct Thresholds {
  using Key = typename ScoreKey<T>::Key;
  std::vector<Key> keys;
  std::vector<uint16_t> range_of;
  std::vector<ThresholdRange> ranges;
  std::vector<CellWord> words;
  ThresholdTable table{};

  Thresholds(const T* values, int64_t size) : keys(size + kThresholdPad, ~Key{0}) {
    for (int64_t i = 0; i < size; ++i) {
      const Key bits = score_bits(values[i]);
      STD_TORCH_CHECK(!is_nan_bits<T>(bits), "count_above: threshold ", i, " is NaN");
      keys[i] = key_of_bits<T>(bits);
      STD_TORCH_CHECK(i == 0 || keys[i - 1] < keys[i], "count_above: thresholds must ascend, but ", i,
                      " does not");
    }
    const Key base = keys[0], top = keys[size - 1] + 1;
    const int step_shift =
        std::max(0, static_cast<int>(std::bit_width(static_cast<Key>(top - base))) - kSteps);
    range_of.resize(((top - base) >> step_shift) + 1);
    const int64_t in_range = size < kFewThresholds ? size : std::max(kInRange, size / kMostRanges + 1);
    const auto step_of = [&](int64_t i) { return static_cast<int64_t>((keys[i] - base) >> step_shift); };
    words.reserve(size + 1);
    for (int64_t i = 0, step = 0; i < size;) {
      int64_t end = std::min(i + in_range, size);
      while (end < size && step_of(end) == step_of(end - 1)) ++end;
      const int64_t next = end < size ? step_of(end) : static_cast<int64_t>(range_of.size());
      std::fill(range_of.begin() + step, range_of.begin() + next, static_cast<uint16_t>(ranges.size()));
      const Key first = base + (static_cast<Key>(step) << step_shift);
      add_range(first, end < size ? base + (static_cast<Key>(next) << step_shift) - 1 : top, i, end);
      i = end;
      step = next;
    }
    words.push_back({0, static_cast<uint32_t>(size)});
    table = {keys.data(),
             range_of.data(),
             ranges.data(),
             words.data(),
             size,
             base,
             top,
             step_shift,
             static_cast<int64_t>(ranges.size()),
             size + 1 + kCountPad};
  }

 private:
  // Keys first … last, which thresholds [begin, end) lie among, in at most as many words as thresholds.
  void add_range(Key first, Key last, int64_t begin, int64_t end) {
    int shift = 0;
    while (((last - first) >> shift) / 32 >= static_cast<Key>(end - begin)) ++shift;
    const size_t first_word = words.size();
    ranges.push_back({first, static_cast<int64_t>(first_word), shift});
    for (int64_t i = begin; i < end; ++i) {
      const Key cell = (keys[i] - first) >> shift;
      const uint32_t bit = uint32_t{1} << (cell & 31);
      while (words.size() <= first_word + cell / 32) words.push_back({0, static_cast<uint32_t>(i)});
      uint32_t& cells = words.back().cells;
      cells = (cells & bit) != 0 ? ~uint32_t{0} : cells | bit;
    }
    words.resize(first_word + ((last - first) >> shift) / 32 + 1, {0, static_cast<uint32_t>(end)});
  }
};

// Keys that a thread has found and not yet counted.
template <typename T>
struct Buffers {
  std::unique_ptr<typename ScoreKey<T>::Key[]> keys;
  std::vector<uint32_t> used;

  explicit Buffers(int64_t ranges) : used(ranges) {
    if (ranges > 1) keys.reset(new typename ScoreKey<T>::Key[ranges * kBufferStride]);
  }
  KeyBuffers view() { return {keys.get(), used.data()}; }
};

struct Item {
  int64_t image, begin, size;
};

template <typename T>
void count(const std::vector<Tensor>& scores, const T* values, int64_t size, int64_t* above, int64_t* equal,
           int64_t* nans) {
  const Thresholds<T> thresholds(values, size);
  std::vector<Item> items;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (int64_t begin = 0; begin < scores[i].numel(); begin += kItem) {
      items.push_back({static_cast<int64_t>(i), begin, std::min(kItem, scores[i].numel() - begin)});
    }
  }
  std::vector<std::atomic<int64_t>> found_nans(scores.size());
  std::atomic<size_t> next{0};
  std::mutex mutex;
  torch::stable::parallel_for(0, torch::stable::get_num_threads(), 1, [&](int64_t, int64_t) {
    const int64_t stride = thresholds.table.stride;
    std::vector<uint32_t> counts(2 * stride);
    Buffers<T> buffers(thresholds.table.num_ranges);
    const KeyBuffers waiting = buffers.view();
    int64_t counted = 0;
    const auto flush = [&] {
      if constexpr (std::is_same_v<T, float>) {
        kernels().count_buffered_f32(thresholds.table, waiting, counts.data());
      } else {
        kernels().count_buffered_f64(thresholds.table, waiting, counts.data());
      }
      const std::lock_guard<std::mutex> lock(mutex);
      for (int64_t i = 0; i < size; ++i) {
        above[i] += counts[i + 1];  // for now: those between this threshold and the next
        equal[i] += counts[stride + i + 1];
      }
    };
    for (size_t k = next++; k < items.size(); k = next++) {
      const Item& item = items[k];
      const T* data = scores[item.image].const_data_ptr<T>() + item.begin;
      if (counted + item.size > kFlush) {
        flush();
        std::fill(counts.begin(), counts.end(), 0u);
        counted = 0;
      }
      counted += item.size;
      int64_t bad;
      if constexpr (std::is_same_v<T, float>) {
        bad = kernels().count_scores_f32(data, item.size, thresholds.table, waiting, counts.data());
      } else {
        bad = kernels().count_scores_f64(data, item.size, thresholds.table, waiting, counts.data());
      }
      if (bad != 0) found_nans[item.image] += bad;
    }
    if (counted > 0) flush();
  });
  for (size_t i = 0; i < scores.size(); ++i) nans[i] = found_nans[i];
  int64_t sum = 0;  // of all scores above the threshold
  for (int64_t i = size - 1; i >= 0; --i) {
    sum += above[i];
    above[i] = sum;
    sum += equal[i];
  }
}

std::tuple<Tensor, Tensor, Tensor> count_above_cpu(const std::vector<Tensor> scores,
                                                   const Tensor thresholds) {
  check_count_above(scores, thresholds);
  const int64_t size = thresholds.size(0);
  const Tensor sorted = torch::stable::contiguous(thresholds);
  Tensor above = torch::stable::new_zeros(thresholds, {size}, ScalarType::Long);
  Tensor equal = torch::stable::new_zeros(thresholds, {size}, ScalarType::Long);
  Tensor nans = torch::stable::new_zeros(thresholds, {static_cast<int64_t>(scores.size())}, ScalarType::Long);
  int64_t *a = above.mutable_data_ptr<int64_t>(), *e = equal.mutable_data_ptr<int64_t>();
  if (thresholds.scalar_type() == ScalarType::Float) {
    count<float>(scores, sorted.const_data_ptr<float>(), size, a, e, nans.mutable_data_ptr<int64_t>());
  } else {
    count<double>(scores, sorted.const_data_ptr<double>(), size, a, e, nans.mutable_data_ptr<int64_t>());
  }
  return {above, equal, nans};
}

}  // namespace

STADX_CPU_OPERATOR(count_above,
                   "(Tensor[] scores, Tensor thresholds) -> (Tensor above, Tensor equal, Tensor nans)")

}  // namespace stadx
