// How many scores lie at and between given thresholds: one pass over the scores, no sort. Those below the
// lowest threshold, most of them, only pass a comparison.
#include "common/score_key.h"
#include "cpu/isa.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"

namespace stadx::STADX_ISA {
namespace {

constexpr int64_t kChunk = 2048;  // scores whose keys are gathered at a time: they stay in the L1 cache

// Keys of the scores that are not below the lowest threshold, of `size` ≤ kChunk; returns how many. Counts
// NaN.
template <typename T>
inline int64_t gather_keys(const T* scores, int64_t size, typename ScoreKey<T>::Key lowest,
                           typename ScoreKey<T>::Key* out, int64_t& nans) {
  int64_t count = 0;
  for (int64_t i = 0; i < size; ++i) {
    const auto bits = score_bits(scores[i]);
    const auto key = key_of_bits<T>(bits);
    const bool nan = is_nan_bits<T>(bits);
    out[count] = key;
    count += (key >= lowest) & !nan;
    nans += nan;
  }
  return count;
}

#if defined(__AVX2__)
// compress[m]: the lanes whose bit is set in m, in order.
struct CompressTable {
  alignas(32) uint32_t lanes[256][8] = {};

  constexpr CompressTable() {
    for (int m = 0; m < 256; ++m) {
      int count = 0;
      for (int i = 0; i < 8; ++i) {
        if (m >> i & 1) lanes[m][count++] = static_cast<uint32_t>(i);
      }
    }
  }
};
constexpr CompressTable compress;

inline int64_t gather_keys(const float* scores, int64_t size, uint32_t lowest, uint32_t* out, int64_t& nans) {
  const __m256i sign = _mm256_set1_epi32(INT32_MIN), infinity = _mm256_set1_epi32(0x7F800000);
  const __m256i below = _mm256_set1_epi32(static_cast<int32_t>((lowest ^ 0x80000000u) - 1));
  int64_t count = 0, i = 0;
  for (; i + 8 <= size; i += 8) {
    __builtin_prefetch(scores + i + 512, 0, 0);  // scores are read once: keep them from displacing the tables
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scores + i));
    const __m256i magnitude = _mm256_andnot_si256(sign, bits);
    // As signed integers: the bits of positive scores, minus the magnitude of negative ones.
    const __m256i ordered = _mm256_blendv_epi8(bits, _mm256_sub_epi32(_mm256_setzero_si256(), magnitude),
                                               _mm256_srai_epi32(bits, 31));
    const __m256i nan = _mm256_cmpgt_epi32(magnitude, infinity);
    const __m256i wanted = _mm256_cmpgt_epi32(ordered, below);
    const int mask = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_andnot_si256(nan, wanted)));
    nans += __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(nan))));
    const __m256i lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(compress.lanes[mask]));
    const __m256i keys = _mm256_xor_si256(_mm256_permutevar8x32_epi32(ordered, lanes), sign);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + count), keys);
    count += __builtin_popcount(static_cast<unsigned>(mask));
  }
  return count + gather_keys<float>(scores + i, size - i, lowest, out + count, nans);
}
#endif

// Of the kThresholdsNear keys at p, which ascend, how many are ≤ key.
inline int count_not_above(const uint32_t* p, uint32_t key) {
#if defined(__AVX2__)
  const __m256i sign = _mm256_set1_epi32(INT32_MIN);
  const __m256i keys = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), sign);
  const __m256i wanted = _mm256_set1_epi32(static_cast<int32_t>(key ^ 0x80000000u));
  const __m256i above = _mm256_cmpgt_epi32(keys, wanted);
  return kThresholdsNear -
         __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(above))));
#else
  int count = 0;
  for (int i = 0; i < kThresholdsNear; ++i) count += p[i] <= key;
  return count;
#endif
}

inline int count_not_above(const uint64_t* p, uint64_t key) {
  int count = 0;
  for (int i = 0; i < kThresholdsNear; ++i) count += p[i] <= key;
  return count;
}

// Crowded: some bucket holds more than kThresholdsNear thresholds.
template <typename T, bool Crowded>
int64_t count_scores(const T* scores, int64_t size, const ThresholdTable& table, uint32_t* counts) {
  using Key = typename ScoreKey<T>::Key;
  const Key* keys = static_cast<const Key*>(table.keys);
  const uint32_t* start = reinterpret_cast<const uint32_t*>(table.start);
  const Key base = static_cast<Key>(table.base), last = static_cast<Key>(table.buckets - 1);
  Key found[kChunk + 8];  // gathering writes whole vectors
  Key places[kChunk];
  uint32_t lows[kChunk];  // thresholds known to be ≤ key
  const uint64_t ties = static_cast<uint64_t>(table.size);
  int64_t nans = 0;
  for (int64_t i = 0; i < size; i += kChunk) {
    const int64_t left = size - i < kChunk ? size - i : kChunk;
    const int64_t count = gather_keys(scores + i, left, keys[0], found, nans);
    // Each step prefetches what the next one reads: the tables of many thresholds exceed the L2 cache.
    for (int64_t j = 0; j < count; ++j) {
      const Key place = (found[j] - base) >> table.shift;
      places[j] = place < last ? place : last;
    }
    for (int64_t j = 0; j < count; ++j) __builtin_prefetch(start + places[j]);
    for (int64_t j = 0; j < count; ++j) {
      uint32_t low = start[places[j]];
      if constexpr (Crowded) {
        uint32_t high = start[places[j] + 1];
        while (high - low > kThresholdsNear) {  // halve until few are left
          const uint32_t middle = low + (high - low) / 2;
          if (keys[middle] <= found[j]) {
            low = middle + 1;
          } else {
            high = middle;
          }
        }
      }
      lows[j] = low;
      __builtin_prefetch(keys + low);
      __builtin_prefetch(counts + low, 1);
    }
    for (int64_t j = 0; j < count; ++j) {
      const Key key = found[j];
      const uint64_t at = lows[j] + static_cast<uint64_t>(count_not_above(keys + lows[j], key)) - 1;
      ++counts[at + (keys[at] == key ? ties : 0)];
    }
  }
  return nans;
}

}  // namespace

int64_t count_scores_f32(const float* scores, int64_t size, const ThresholdTable& table, uint32_t* counts) {
  return (table.crowded ? count_scores<float, true> : count_scores<float, false>)(scores, size, table,
                                                                                  counts);
}

int64_t count_scores_f64(const double* scores, int64_t size, const ThresholdTable& table, uint32_t* counts) {
  return (table.crowded ? count_scores<double, true> : count_scores<double, false>)(scores, size, table,
                                                                                    counts);
}

}  // namespace stadx::STADX_ISA
