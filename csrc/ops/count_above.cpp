// stadx::count_above: how many scores of a set are above each of many thresholds, and how many equal it.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "common/score_key.h"
#include "cpu/kernels.h"
#include "cpu/threshold_index.h"
#include "ops/operator.h"
#include "ops/score_checks.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kItem = int64_t{1} << 17;   // scores of one work item
constexpr int64_t kFlush = int64_t{1} << 31;  // scores after which 32-bit counts are emptied
constexpr int64_t kFewThresholds = 1 << 14;   // whose tables stay in the cache anyway
constexpr int64_t kInRange = 1024;            // thresholds whose tables stay in the L1 cache
constexpr int64_t kMostRanges = 1 << 11;      // a line of each stays in the L2 cache

template <typename T>
std::vector<typename ScoreKey<T>::Key> ascending_keys(const T* values, int64_t size) {
  std::vector<typename ScoreKey<T>::Key> keys(size);
  for (int64_t i = 0; i < size; ++i) {
    const auto bits = score_bits(values[i]);
    STD_TORCH_CHECK(!is_nan_bits<T>(bits), "count_above: threshold ", i, " is NaN");
    keys[i] = key_of_bits<T>(bits);
    STD_TORCH_CHECK(i == 0 || keys[i - 1] < keys[i], "count_above: thresholds must ascend, but ", i,
                    " does not");
  }
  return keys;
}

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
  const int64_t in_range = size < kFewThresholds ? size : std::max(kInRange, size / kMostRanges + 1);
  const ThresholdIndex<typename ScoreKey<T>::Key> index(ascending_keys(values, size), in_range);
  const ThresholdTable& table = index.table();
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
    const int64_t stride = table.stride;
    std::vector<uint32_t> counts(2 * stride);
    Buffers<T> buffers(table.num_ranges);
    const KeyBuffers waiting = buffers.view();
    int64_t counted = 0;
    const auto flush = [&] {
      if constexpr (std::is_same_v<T, float>) {
        kernels().count_buffered_f32(table, waiting, counts.data());
      } else {
        kernels().count_buffered_f64(table, waiting, counts.data());
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
        bad = kernels().count_scores_f32(data, item.size, table, waiting, counts.data());
      } else {
        bad = kernels().count_scores_f64(data, item.size, table, waiting, counts.data());
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
