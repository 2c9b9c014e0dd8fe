// Counting for exact PRO: how many scores lie above and at each threshold. Scores are compared as ordered
// integers (common/score_key.h) and only integers are added, so no result depends on the order of threads.
#pragma once

#include "common/score_key.h"
#include "cuda/block_sum.cuh"
#include "cuda/launchers.h"

namespace stadx::cuda {

template <typename Key>
STADX_DEVICE int shift_of(const KeyTable& table) {
  const Key* keys = static_cast<const Key*>(table.keys);
  Key range = (load_constant(keys + table.size - 1) - load_constant(keys)) >> (table.bucket_bits - 1) >> 1;
  int shift = 0;
  for (; range != 0; range >>= 1) ++shift;
  return shift;
}

// How many of keys [low, high) are below or, if `or_equal`, equal to a key, plus low.
template <typename Key>
STADX_DEVICE int64_t search(const Key* keys, int64_t low, int64_t high, Key key, bool or_equal) {
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    const Key at = load_constant(keys + middle);
    if (at < key || (or_equal && at == key)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

template <typename T>
struct MakeKeys {
  static constexpr int kThreads = 256;
  struct Shared {};
  const T* thresholds;
  KeyTable table;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    using Key = typename ScoreKey<T>::Key;
    const int64_t i = block.x() * kThreads + block.thread();
    if (i < table.size)
      static_cast<Key*>(table.keys)[i] = key_of_bits<T>(score_bits(load_constant(thresholds + i)));
  }
};

template <typename T>
struct MakeTable {
  static constexpr int kThreads = 256;
  struct Shared {};
  KeyTable table;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    using Key = typename ScoreKey<T>::Key;
    const Key* keys = static_cast<const Key*>(table.keys);
    const int64_t k = block.x() * kThreads + block.thread(), buckets = int64_t{1} << table.bucket_bits;
    if (k > buckets) return;
    const int shift = shift_of<Key>(table);
    const Key base = load_constant(keys), step = static_cast<Key>(k) << shift,
              last = load_constant(keys + table.size - 1);
    // Beyond the last threshold the step may overflow: nothing begins there.
    const bool beyond =
        k == buckets || static_cast<Key>(step >> shift) != static_cast<Key>(k) || step > last - base;
    table.start[k] =
        static_cast<int32_t>(beyond ? table.size : search<Key>(keys, 0, table.size, base + step, false));
  }
};

// between[i]: scores above threshold i but below the next one; equal[i]: at it; nans[image].
template <typename T>
struct CountScores {
  using Key = typename ScoreKey<T>::Key;
  static constexpr int kThreads = 256;
  static constexpr int kEach = 8;  // scores of a thread, at a distance of kThreads
  struct Shared {};
  ScoreSets sets;
  KeyTable table;
  int64_t *between, *equal, *nans;

  STADX_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t image = block.y(), size = sets.size[image];
    const T* data = static_cast<const T*>(sets.data[image]);
    const Key* keys = static_cast<const Key*>(table.keys);
    const Key base = load_constant(keys);
    const int shift = shift_of<Key>(table);
    int32_t bad = 0;
    constexpr int64_t kChunk = int64_t{kThreads} * kEach;
    for (int64_t begin = block.x() * kChunk; begin < size; begin += block.grid_x() * kChunk) {
      Key bits[kEach];
#pragma unroll
      for (int k = 0; k < kEach; ++k) {  // all loads first
        const int64_t i = begin + k * kThreads + block.thread();
        bits[k] =
            i < size ? score_bits(load_constant(data + i)) : ScoreKey<T>::kSign | ScoreKey<T>::kInfinity;
      }
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        const bool nan = is_nan_bits<T>(bits[k]);
        bad += nan;
        const Key key = nan ? Key{0} : key_of_bits<T>(bits[k]);
        const bool inside = begin + k * kThreads + block.thread() < size;
        add(block, inside && !nan && key >= base ? slot_of(keys, base, shift, key) : int64_t{-1});
      }
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) bad += block.shuffle_xor(bad, step);
    if (block.lane() == 0 && bad != 0) block.atomic_add(nans + sets.first + image, int64_t{bad});
  }

 private:
  // Twice the threshold's number, plus one if the score is equal to it.
  STADX_DEVICE int64_t slot_of(const Key* keys, Key base, int shift, Key key) const {
    const Key last = (Key{1} << table.bucket_bits) - 1, wanted = (key - base) >> shift;
    const int64_t bucket = static_cast<int64_t>(wanted < last ? wanted : last);
    const int64_t low = load_constant(table.start + bucket), high = load_constant(table.start + bucket + 1);
    const int64_t i = search<Key>(keys, low, high, key, true) - 1;
    return 2 * i + (load_constant(keys + i) == key);
  }

  // Ties are common: a warp that agrees adds once.
  STADX_DEVICE void add(Block& block, int64_t slot) const {
    const bool agreed = block.ballot(slot == block.shuffle(slot, 0)) == ~0u;
    if (slot < 0 || (agreed && block.lane() != 0)) return;
    int64_t* counter = (slot % 2 == 1 ? equal : between) + slot / 2;
    block.atomic_add(counter, int64_t{agreed ? 32 : 1});
  }
};

// Running sums from the highest threshold down, in three steps: chunks, sums of chunks, within chunks.
inline constexpr int kSumThreads = 256, kSumEach = 8, kSumChunk = kSumThreads * kSumEach;

struct SumChunks {
  static constexpr int kThreads = kSumThreads;
  struct Shared {
    int64_t warps[kThreads / 32];
  };
  const int64_t *between, *equal;
  int64_t size;
  int64_t* sums;  // [chunks]

  STADX_DEVICE void operator()(Block& block, Shared& shared) const {
    int64_t mine = 0, total;
#pragma unroll
    for (int k = 0; k < kSumEach; ++k) {
      const int64_t i = block.x() * kSumChunk + k * kThreads + block.thread();
      if (i < size) mine += load_constant(between + i) + load_constant(equal + i);
    }
    sum_before<kThreads>(block, mine, shared.warps, total);
    if (block.thread() == 0) sums[block.x()] = total;
  }
};

// sums[k] becomes the sum of those after k; one block.
struct SumAfter {
  static constexpr int kThreads = 1024;
  struct Shared {
    int64_t warps[kThreads / 32];
  };
  int64_t* sums;
  int64_t size;

  STADX_DEVICE void operator()(Block& block, Shared& shared) const {
    int64_t carry = 0;
    for (int64_t done = 0; done < size; done += kThreads) {
      const int64_t i = size - 1 - done - block.thread();
      const int64_t value = i >= 0 ? sums[i] : 0;
      int64_t total;
      const int64_t after = sum_before<kThreads>(block, value, shared.warps, total);
      if (i >= 0) sums[i] = carry + after;
      carry += total;
    }
  }
};

// above[i] = between[i] + Σ_{j > i} (between[j] + equal[j]), in place of between.
struct SumWithin {
  static constexpr int kThreads = kSumThreads;
  struct Shared {
    int64_t warps[kThreads / 32];
  };
  int64_t* between;
  const int64_t *equal, *after;  // after[chunk]
  int64_t size;

  STADX_DEVICE void operator()(Block& block, Shared& shared) const {
    const int64_t end = block.x() * kSumChunk + kSumChunk < size ? block.x() * kSumChunk + kSumChunk : size;
    int64_t carry = load_constant(after + block.x());
    for (int64_t last = end - 1; last >= block.x() * kSumChunk; last -= kThreads) {
      const int64_t i = last - block.thread();
      const bool inside = i >= block.x() * kSumChunk;
      const int64_t here = inside ? between[i] : 0, both = inside ? here + load_constant(equal + i) : 0;
      int64_t total;
      const int64_t beyond = sum_before<kThreads>(block, both, shared.warps, total);
      if (inside) between[i] = here + carry + beyond;
      carry += total;
    }
  }
};

}  // namespace stadx::cuda
