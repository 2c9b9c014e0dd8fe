// The tables of count_above's kernels, made of the thresholds.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "cpu/kernels.h"

namespace stadx {

template <typename Key>
class ThresholdIndex {
 public:
  // `ascending`: keys of the thresholds, at least one; so many of them make a range, more where neighbours
  // are close.
  ThresholdIndex(std::vector<Key> ascending, int64_t in_range) : keys_(std::move(ascending)) {
    const auto size = static_cast<int64_t>(keys_.size());
    keys_.resize(size + kThresholdPad, ~Key{0});
    const Key base = keys_[0], top = keys_[size - 1] + 1;
    const int step_shift =
        std::max(0, static_cast<int>(std::bit_width(static_cast<Key>(top - base))) - kSteps);
    range_of_.resize(((top - base) >> step_shift) + 1);
    const auto step_of = [&](int64_t i) { return static_cast<int64_t>((keys_[i] - base) >> step_shift); };
    words_.reserve(size + 1);
    for (int64_t i = 0, step = 0; i < size;) {
      int64_t end = std::min(i + in_range, size);
      while (end < size && step_of(end) == step_of(end - 1)) ++end;
      const int64_t next = end < size ? step_of(end) : static_cast<int64_t>(range_of_.size());
      std::fill(range_of_.begin() + step, range_of_.begin() + next, static_cast<uint16_t>(ranges_.size()));
      const Key first = base + (static_cast<Key>(step) << step_shift);
      add_range(first, end < size ? base + (static_cast<Key>(next) << step_shift) - 1 : top, i, end);
      i = end;
      step = next;
    }
    words_.push_back({0, static_cast<uint32_t>(size)});
    table_ = {keys_.data(),
              range_of_.data(),
              ranges_.data(),
              words_.data(),
              size,
              base,
              top,
              step_shift,
              static_cast<int64_t>(ranges_.size()),
              size + 1 + kCountPad};
  }
  ThresholdIndex(const ThresholdIndex&) = delete;  // the table points into it

  const ThresholdTable& table() const { return table_; }

 private:
  static constexpr int kSteps = 12;  // of the keys, as a power of two: which range each is in

  // Keys first … last, which thresholds [begin, end) lie among, in at most as many words as thresholds.
  void add_range(Key first, Key last, int64_t begin, int64_t end) {
    int shift = 0;
    while (((last - first) >> shift) / 32 >= static_cast<Key>(end - begin)) ++shift;
    const size_t first_word = words_.size();
    ranges_.push_back({first, static_cast<int64_t>(first_word), shift});
    for (int64_t i = begin; i < end; ++i) {
      const Key cell = (keys_[i] - first) >> shift;
      const uint32_t bit = uint32_t{1} << (cell & 31);
      while (words_.size() <= first_word + cell / 32) words_.push_back({0, static_cast<uint32_t>(i)});
      uint32_t& cells = words_.back().cells;
      cells = (cells & bit) != 0 ? ~uint32_t{0} : cells | bit;
    }
    words_.resize(first_word + ((last - first) >> shift) / 32 + 1, {0, static_cast<uint32_t>(end)});
  }

  std::vector<Key> keys_;
  std::vector<uint16_t> range_of_;
  std::vector<ThresholdRange> ranges_;
  std::vector<CellWord> words_;
  ThresholdTable table_{};
};

}  // namespace stadx
