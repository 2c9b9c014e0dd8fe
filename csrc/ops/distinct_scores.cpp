// stadx::distinct_scores: the distinct values among scores, which of them each score has, and how often each
// occurs. By radix sort: several times as fast as a comparison sort of some hundred thousand scores.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <limits>
#include <tuple>
#include <vector>

#include "common/score_key.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename T>
struct Entry {
  typename ScoreKey<T>::Key key;
  int32_t index;
};

template <typename T>
std::vector<Entry<T>> sorted_entries(const T* scores, int64_t size) {
  constexpr int kDigit = 11, kDigits = (8 * sizeof(T) + kDigit - 1) / kDigit;
  constexpr size_t kBuckets = size_t{1} << kDigit;
  std::vector<std::array<int64_t, kBuckets>> counts(kDigits);
  for (auto& digit : counts) digit.fill(0);
  std::vector<Entry<T>> entries(size), other(size);
  for (int64_t i = 0; i < size; ++i) {
    const auto key = key_of_bits<T>(score_bits(scores[i]));
    entries[i] = {key, static_cast<int32_t>(i)};
    for (int d = 0; d < kDigits; ++d) ++counts[d][key >> d * kDigit & (kBuckets - 1)];
  }
  for (int d = 0; d < kDigits; ++d) {
    int64_t before = 0;
    bool alike = false;  // all scores share the digit
    for (int64_t& count : counts[d]) {
      alike = alike || count == size;
      const int64_t now = count;
      count = before;
      before += now;
    }
    if (alike) continue;
    for (const Entry<T>& entry : entries)
      other[counts[d][entry.key >> d * kDigit & (kBuckets - 1)]++] = entry;
    entries.swap(other);
  }
  return entries;
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor> distinct(const Tensor& scores) {
  const int64_t size = scores.numel();
  const T* data = scores.const_data_ptr<T>();
  const std::vector<Entry<T>> entries = sorted_entries(data, size);
  Tensor at = torch::stable::new_empty(scores, {size}, ScalarType::Int);
  int32_t* at_out = at.mutable_data_ptr<int32_t>();
  std::vector<int64_t> first;  // entry where each value begins
  for (int64_t i = 0; i < size; ++i) {
    if (i == 0 || entries[i].key != entries[i - 1].key) first.push_back(i);
    at_out[entries[i].index] = static_cast<int32_t>(first.size()) - 1;
  }
  const int64_t count = static_cast<int64_t>(first.size());
  first.push_back(size);
  Tensor values = torch::stable::new_empty(scores, {count});
  Tensor counts = torch::stable::new_empty(scores, {count}, ScalarType::Long);
  T* values_out = values.mutable_data_ptr<T>();
  int64_t* counts_out = counts.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < count; ++k) {
    values_out[k] = data[entries[first[k]].index];
    counts_out[k] = first[k + 1] - first[k];
  }
  return {values, at, counts};
}

std::tuple<Tensor, Tensor, Tensor> distinct_scores_cpu(const Tensor scores) {
  STD_TORCH_CHECK(scores.dim() == 1 && scores.numel() < std::numeric_limits<int32_t>::max(),
                  "distinct_scores: scores must be [n] with n < 2^31");
  const Tensor input = torch::stable::contiguous(scores);
  if (scores.scalar_type() == ScalarType::Float) return distinct<float>(input);
  STD_TORCH_CHECK(scores.scalar_type() == ScalarType::Double,
                  "distinct_scores: scores must be float32 or float64");
  return distinct<double>(input);
}

}  // namespace

STADX_CPU_OPERATOR(distinct_scores, "(Tensor scores) -> (Tensor values, Tensor at, Tensor counts)")

}  // namespace stadx
