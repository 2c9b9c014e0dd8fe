// How many scores lie at and between given thresholds: one pass over the scores, no sort. Those below the
// lowest threshold, most of them, only pass a comparison. The tables of many thresholds exceed the caches:
// then keys are collected by ranges of the thresholds first, and counted range by range.
#include "common/score_key.h"
#include "cpu/eight_lanes.h"
#include "cpu/isa.h"
#include "cpu/kernels.h"
#include "cpu/vec.h"

namespace stadx::STADX_ISA {
namespace {

// Scores whose keys are gathered at a time, so that they stay in the L1 cache. Those of the next chunk are
// prefetched meanwhile: the processor's own prefetching ends with the page.
constexpr int64_t kChunk = 2048;

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
    __builtin_prefetch(scores + i + kChunk, 0, 2);
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
    __builtin_prefetch(scores + i + kChunk, 0, 2);
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

// Counts keys of one range. Where a key's cell is empty, its place follows from the cells before; the others
// are compared with thresholds near them. If those are most, as of maps of few values, all further ones are.
template <typename Key>
void count_keys(const Key* found, int64_t size, const ThresholdTable& table, int64_t range,
                uint32_t* counts) {
  constexpr int64_t kMost = 512;
  const Key* keys = static_cast<const Key*>(table.keys);
  const CellWord* words = table.words + table.ranges[range].first_word;
  const Key base = static_cast<Key>(table.ranges[range].base);
  const int shift = table.ranges[range].shift;
  const uint64_t stride = static_cast<uint64_t>(table.stride);
  const auto compare = [&](const Key* some, int64_t many) {
    for (int64_t j = 0; j < many; ++j) {
      const Key key = some[j];
      const CellWord* word = words + ((key - base) >> shift) / 32;
      uint32_t low = word[0].before, high = word[1].before;
      while (high - low > kThresholdsNear) {  // halve until few are left
        const uint32_t middle = low + (high - low) / 2;
        if (keys[middle] <= key) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      const uint64_t passed = low + static_cast<uint64_t>(count_not_above(keys + low, key));
      ++counts[passed + (stride & -static_cast<uint64_t>(keys[passed - 1] == key))];
    }
  };
  Key unsure[kMost];
  for (int64_t most = 64; size > 0; most = kMost) {  // the first few tell soon
    const int64_t some = size < most ? size : most;
    int64_t left = 0;
    for (int64_t j = 0; j < some; ++j) {
      const Key key = found[j], cell = (key - base) >> shift;
      const CellWord word = words[cell / 32];
      const uint32_t up_to = word.cells << (~cell & 31);  // the key's own cell is the highest bit
      const uint32_t own = up_to >> 31;
      counts[word.before + static_cast<uint32_t>(__builtin_popcount(up_to))] += 1 - own;
      unsure[left] = key;
      left += own;
    }
    compare(unsure, left);
    found += some;
    size -= some;
    if (left > some / 2) break;
  }
  compare(found, size);
}

template <typename T>
int64_t count_scores(const T* scores, int64_t size, const ThresholdTable& table, const KeyBuffers& buffers,
                     uint32_t* counts) {
  using Key = typename ScoreKey<T>::Key;
  const Key lowest = static_cast<Key>(table.base), top = static_cast<Key>(table.top);
  const int step_shift = table.step_shift;
  const uint16_t* range_of = table.range_of;
  Key* const buffered = static_cast<Key*>(buffers.keys);
  uint32_t* const used = buffers.used;
  Key found[kChunk + 16];  // gathering writes whole vectors
  Key steps[kChunk];
  int64_t nans = 0;
  for (int64_t i = 0; i < size; i += kChunk) {
    const int64_t count = gather_keys(scores + i, size - i < kChunk ? size - i : kChunk, lowest, found, nans);
    for (int64_t j = 0; j < count; ++j) {
      found[j] = found[j] < top ? found[j] : top;
      steps[j] = (found[j] - lowest) >> step_shift;
    }
    if (table.num_ranges == 1) {
      count_keys(found, count, table, 0, counts);
      continue;
    }
    for (int64_t j = 0; j < count; ++j) {
      const uint64_t range = range_of[steps[j]];
      Key* const buffer = buffered + range * kBufferStride;
      const uint32_t at = used[range];
      buffer[at] = found[j];
      used[range] = at + 1;
      __builtin_prefetch(buffer + at + 16, 1);  // the next line has left the cache since the last round
      if (at + 1 == kBufferedKeys) {
        count_keys(buffer, kBufferedKeys, table, static_cast<int64_t>(range), counts);
        used[range] = 0;
      }
    }
  }
  return nans;
}

template <typename Key>
void count_buffered(const ThresholdTable& table, const KeyBuffers& buffers, uint32_t* counts) {
  if (table.num_ranges == 1) return;
  for (int64_t range = 0; range < table.num_ranges; ++range) {
    count_keys(static_cast<const Key*>(buffers.keys) + range * kBufferStride, buffers.used[range], table,
               range, counts);
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
