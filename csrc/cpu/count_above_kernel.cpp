// How many scores lie at and between given thresholds: one pass over the scores, no sort. Those below the
// lowest threshold, most of them, only pass a comparison. The tables of many thresholds exceed the caches:
// then keys are collected by ranges of the tables first, and counted range by range.
#include "common/score_key.h"
#include "cpu/eight_lanes.h"
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

#if defined(__AVX512F__)
inline int64_t gather_keys(const float* scores, int64_t size, uint32_t lowest, uint32_t* out, int64_t& nans) {
  const __m512i zero = _mm512_setzero_si512(), sign = _mm512_set1_epi32(INT32_MIN);
  const __m512i infinity = _mm512_set1_epi32(0x7F800000),
                least = _mm512_set1_epi32(static_cast<int32_t>(lowest));
  int64_t count = 0, i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m512i bits = _mm512_loadu_si512(scores + i);
    const __m512i magnitude = _mm512_and_si512(_mm512_set1_epi32(INT32_MAX), bits);
    const __m512i key =
        _mm512_mask_sub_epi32(_mm512_or_si512(bits, sign), _mm512_movepi32_mask(bits), sign, magnitude);
    const __mmask16 nan = _mm512_cmpgt_epu32_mask(magnitude, infinity);
    const __mmask16 wanted = _mm512_mask_cmpge_epu32_mask(static_cast<__mmask16>(~nan), key, least);
    nans += __builtin_popcount(nan);
    _mm512_storeu_si512(out + count, _mm512_mask_compress_epi32(zero, wanted, key));
    count += __builtin_popcount(wanted);
  }
  return count + gather_keys<float>(scores + i, size - i, lowest, out + count, nans);
}
#elif defined(__AVX2__)
inline int64_t gather_keys(const float* scores, int64_t size, uint32_t lowest, uint32_t* out, int64_t& nans) {
  const __m256i sign = _mm256_set1_epi32(INT32_MIN), infinity = _mm256_set1_epi32(0x7F800000);
  const __m256i below = _mm256_set1_epi32(static_cast<int32_t>((lowest ^ 0x80000000u) - 1));
  int64_t count = 0, i = 0;
  for (; i + 8 <= size; i += 8) {
    const __m256i bits = load_8(scores + i);
    const __m256i magnitude = _mm256_andnot_si256(sign, bits);
    // As signed integers: the bits of positive scores, minus the magnitude of negative ones.
    const __m256i ordered = _mm256_blendv_epi8(bits, _mm256_sub_epi32(_mm256_setzero_si256(), magnitude),
                                               _mm256_srai_epi32(bits, 31));
    const __m256i nan = _mm256_cmpgt_epi32(magnitude, infinity);
    const __m256i wanted = _mm256_cmpgt_epi32(ordered, below);
    const unsigned mask = bits_of_8(_mm256_andnot_si256(nan, wanted));
    nans += __builtin_popcount(bits_of_8(nan));
    store_8(out + count, _mm256_xor_si256(choose_8(ordered, mask), sign));
    count += __builtin_popcount(mask);
  }
  return count + gather_keys<float>(scores + i, size - i, lowest, out + count, nans);
}
#elif defined(__aarch64__)
// The same, but scores that are all below are passed by kGroup at a time.
template <typename T>
inline int64_t gather_groups(const T* scores, int64_t size, typename ScoreKey<T>::Key lowest,
                             typename ScoreKey<T>::Key* out, int64_t& nans) {
  using Key = typename ScoreKey<T>::Key;
  constexpr int kGroup = 16;
  int64_t count = 0, i = 0;
  for (; i + kGroup <= size; i += kGroup) {
    Key some = 0;
    for (int k = 0; k < kGroup; ++k) {
      const Key bits = score_bits(scores[i + k]);
      some |= (key_of_bits<T>(bits) >= lowest ? ~Key{0} : 0) | (is_nan_bits<T>(bits) ? ~Key{0} : 0);
    }
    if (some != 0) count += gather_keys<T>(scores + i, kGroup, lowest, out + count, nans);
  }
  return count + gather_keys<T>(scores + i, size - i, lowest, out + count, nans);
}

inline int64_t gather_keys(const float* scores, int64_t size, uint32_t lowest, uint32_t* out, int64_t& nans) {
  return gather_groups(scores, size, lowest, out, nans);
}

inline int64_t gather_keys(const double* scores, int64_t size, uint64_t lowest, uint64_t* out,
                           int64_t& nans) {
  return gather_groups(scores, size, lowest, out, nans);
}
#endif

// Of the kThresholdsNear keys at p, which ascend, how many are ≤ key.
inline int count_not_above(const uint32_t* p, uint32_t key) {
#if defined(__AVX512F__)
  const __m512i wanted = _mm512_set1_epi32(static_cast<int32_t>(key));
  return __builtin_popcount(_mm512_cmple_epu32_mask(_mm512_loadu_si512(p), wanted));
#elif defined(__AVX2__)
  const __m256i wanted = _mm256_set1_epi32(static_cast<int32_t>(key));
  const auto not_above = [&](const uint32_t* eight) {  // as bits of four for each
    const __m256i keys = load_8(eight);
    return _mm256_cmpeq_epi32(_mm256_min_epu32(keys, wanted), keys);
  };
  const __m256i both = _mm256_packs_epi32(not_above(p), not_above(p + 8));
  return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_epi8(both))) / 2;
#elif defined(__aarch64__)
  const uint32x4_t wanted = vdupq_n_u32(key);
  uint32x4_t counts = {};  // less than none
  for (int i = 0; i < kThresholdsNear; i += 4) {
    counts = vaddq_u32(counts, vcleq_u32(vld1q_u32(p + i), wanted));
  }
  return -static_cast<int>(vaddvq_u32(counts));
#else
  int count = 0;
  for (int i = 0; i < kThresholdsNear; ++i) count += p[i] <= key;
  return count;
#endif
}

inline int count_not_above(const uint64_t* p, uint64_t key) {
#if defined(__aarch64__)
  const uint64x2_t wanted = vdupq_n_u64(key);
  uint64x2_t counts = {};
  for (int i = 0; i < kThresholdsNear; i += 2) {
    counts = vaddq_u64(counts, vcleq_u64(vld1q_u64(p + i), wanted));
  }
  return -static_cast<int>(vaddvq_u64(counts));
#else
  int count = 0;
  for (int i = 0; i < kThresholdsNear; ++i) count += p[i] <= key;
  return count;
#endif
}

// Crowded: some bucket holds more than kThresholdsNear thresholds.
template <typename Key, bool Crowded>
void count_keys(const Key* found, int64_t size, const ThresholdTable& table, uint32_t* counts) {
  const Key* keys = static_cast<const Key*>(table.keys);
  const uint32_t* start = reinterpret_cast<const uint32_t*>(table.start);
  const Key base = static_cast<Key>(table.base), last = static_cast<Key>(table.buckets - 1);
  const int shift = table.shift;
  const uint64_t ties = static_cast<uint64_t>(table.size);
  for (int64_t j = 0; j < size; ++j) {
    const Key key = found[j], bucket = (key - base) >> shift, place = bucket < last ? bucket : last;
    uint32_t low = start[place];  // thresholds known to be ≤ key
    if constexpr (Crowded) {
      uint32_t high = start[place + 1];
      while (high - low > kThresholdsNear) {  // halve until few are left
        const uint32_t middle = low + (high - low) / 2;
        if (keys[middle] <= key) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
    }
    const uint64_t at = low + static_cast<uint64_t>(count_not_above(keys + low, key)) - 1;
    ++counts[at + (keys[at] == key ? ties : 0)];
  }
}

template <typename Key>
void count_keys(const Key* found, int64_t size, const ThresholdTable& table, uint32_t* counts) {
  (table.crowded ? count_keys<Key, true> : count_keys<Key, false>)(found, size, table, counts);
}

template <typename T>
int64_t count_scores(const T* scores, int64_t size, const ThresholdTable& table, const KeyBuffers& buffers,
                     uint32_t* counts) {
  using Key = typename ScoreKey<T>::Key;
  const Key lowest = static_cast<Key>(table.base), last = static_cast<Key>(table.ranges - 1);
  const int range_shift = table.range_shift;
  Key* const buffered = static_cast<Key*>(buffers.keys);
  uint32_t* const in_buffer = buffers.used;
  Key found[kChunk + 16];  // gathering writes whole vectors
  int64_t nans = 0;
  for (int64_t i = 0; i < size; i += kChunk) {
    const int64_t count = gather_keys(scores + i, size - i < kChunk ? size - i : kChunk, lowest, found, nans);
    if (table.ranges == 1) {
      count_keys(found, count, table, counts);
      continue;
    }
    for (int64_t j = 0; j < count; ++j) {
      const Key beyond = (found[j] - lowest) >> range_shift, range = beyond < last ? beyond : last;
      uint32_t& used = in_buffer[range];
      Key* const buffer = buffered + range * kBufferedKeys;
      buffer[used++] = found[j];
      if (used == kBufferedKeys) {
        count_keys(buffer, kBufferedKeys, table, counts);
        used = 0;
      }
    }
  }
  return nans;
}

template <typename Key>
void count_buffered(const ThresholdTable& table, const KeyBuffers& buffers, uint32_t* counts) {
  for (int64_t range = 0; range < table.ranges; ++range) {
    count_keys(static_cast<const Key*>(buffers.keys) + range * kBufferedKeys, buffers.used[range], table,
               counts);
    buffers.used[range] = 0;
  }
}

}  // namespace

int64_t count_scores_f32(const float* scores, int64_t size, const ThresholdTable& table,
                         const KeyBuffers& buffers, uint32_t* counts) {
  return count_scores(scores, size, table, buffers, counts);
}

int64_t count_scores_f64(const double* scores, int64_t size, const ThresholdTable& table,
                         const KeyBuffers& buffers, uint32_t* counts) {
  return count_scores(scores, size, table, buffers, counts);
}

void count_buffered_f32(const ThresholdTable& table, const KeyBuffers& buffers, uint32_t* counts) {
  count_buffered<uint32_t>(table, buffers, counts);
}

void count_buffered_f64(const ThresholdTable& table, const KeyBuffers& buffers, uint32_t* counts) {
  count_buffered<uint64_t>(table, buffers, counts);
}

}  // namespace stadx::STADX_ISA
