// A score that enough others reach, from a histogram of the keys' highest bits.
#pragma once

#include "common/score_key.h"
#include "cuda/block_sum.cuh"
#include "cuda/launchers.h"

namespace stadx::cuda {

// bins[k]: scores whose key begins with the bits of k; NaN count nowhere.
template <typename T>
struct CountBins {
  using Key = typename ScoreKey<T>::Key;
  static constexpr int kThreads = 512;
  static constexpr int kEach = 16;
  struct Shared {
    uint32_t bins[kCutBins];
  };
  ScoreSets sets;
  int64_t* bins;

  STADX_DEVICE void operator()(Block& block, Shared& shared) const {
    const int64_t image = block.y(), size = sets.size[image];
    const T* data = static_cast<const T*>(sets.data[image]);
    for (int k = block.thread(); k < kCutBins; k += kThreads) shared.bins[k] = 0;
    block.sync();
    constexpr int64_t kChunk = int64_t{kThreads} * kEach;
    for (int64_t begin = block.x() * kChunk; begin < size; begin += block.grid_x() * kChunk) {
      Key bits[kEach];
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        const int64_t i = begin + k * kThreads + block.thread();
        bits[k] = i < size ? score_bits(load_constant(data + i)) : ~Key{0};  // a NaN
      }
#pragma unroll
      for (int k = 0; k < kEach; ++k) {
        if (is_nan_bits<T>(bits[k])) continue;
        const Key key = key_of_bits<T>(bits[k]);
        block.atomic_add(&shared.bins[key >> (8 * sizeof(T) - kCutBits)], uint32_t{1});
      }
    }
    block.sync();
    for (int k = block.thread(); k < kCutBins; k += kThreads) {
      if (shared.bins[k] != 0) block.atomic_add(bins + k, static_cast<int64_t>(shared.bins[k]));
    }
  }
};

// The lowest score of the highest bin from which on there are `wanted` scores; else −∞. One block.
template <typename T>
struct ChooseCut {
  using Key = typename ScoreKey<T>::Key;
  static constexpr int kThreads = 1024;
  static constexpr int kEach = kCutBins / kThreads;
  struct Shared {
    int64_t warps[kThreads / 32];
  };
  const int64_t* bins;
  int64_t wanted;
  T* cut;

  STADX_DEVICE void operator()(Block& block, Shared& shared) const {
    const int top =
        kCutBins - 1 - block.thread() * kEach;  // each thread takes a few bins, the first the highest
    int64_t mine = 0, total;
    for (int k = 0; k < kEach; ++k) mine += load_constant(bins + top - k);
    int64_t sum = sum_before<kThreads>(block, mine, shared.warps, total);
    constexpr Key kLowest = ScoreKey<T>::kSign - ScoreKey<T>::kInfinity;
    if (block.thread() == 0 && (total < wanted || wanted <= 0)) {
      *cut = score_of_key<T>(wanted <= 0 ? ScoreKey<T>::kSign | ScoreKey<T>::kInfinity : kLowest);
    }
    if (wanted <= 0) return;
    for (int k = 0; k < kEach; ++k) {
      const int64_t next = sum + load_constant(bins + top - k);
      if (sum < wanted && next >= wanted) {
        const Key key = static_cast<Key>(top - k) << (8 * sizeof(T) - kCutBits);
        *cut = score_of_key<T>(key < kLowest ? kLowest : key);
      }
      sum = next;
    }
  }
};

}  // namespace stadx::cuda
