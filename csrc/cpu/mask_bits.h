// A mask's rows as bits, 64 columns a word, and the run of a pixel among them.
#pragma once

#include "cpu/isa.h"
#include "cpu/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace stadx::STADX_ISA {
namespace {

// Bit i of the result says whether p[i] is non-zero, i < count ≤ 64.
template <typename T>
inline uint64_t nonzero_bits(const T* p, int count) {
  uint64_t bits = 0;
  for (int i = 0; i < count; ++i) bits |= static_cast<uint64_t>(p[i] != 0) << i;
  return bits;
}

// The same for 64 bytes at once.
inline uint64_t nonzero_bits_64(const uint8_t* p) {
#if defined(__AVX512BW__)
  const __m512i v = _mm512_loadu_si512(p);
  return _mm512_test_epi8_mask(v, v);
#elif defined(__AVX2__)
  const __m256i zero = _mm256_setzero_si256();
  const __m256i lo = _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), zero);
  const __m256i hi = _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32)), zero);
  const uint64_t low = static_cast<uint32_t>(_mm256_movemask_epi8(lo));
  const uint64_t high = static_cast<uint32_t>(_mm256_movemask_epi8(hi));
  return ~(low | high << 32);
#elif defined(__aarch64__)
  const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto bits_of_16 = [&](const uint8_t* q) {  // each in its byte
    const uint8x16_t v = vld1q_u8(q);
    return vandq_u8(vtstq_u8(v, v), bit);
  };
  const uint8x16_t low = vpaddq_u8(bits_of_16(p), bits_of_16(p + 16));
  const uint8x16_t pairs = vpaddq_u8(low, vpaddq_u8(bits_of_16(p + 32), bits_of_16(p + 48)));
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(pairs, pairs)), 0);
#else
  return nonzero_bits(p, 64);
#endif
}

template <typename T>
inline uint64_t nonzero_bits_64(const T* p) {
  return nonzero_bits(p, 64);
}

template <typename T>
void pack_row(const void* mask, int64_t width, uint64_t* bits) {
  const T* row = static_cast<const T*>(mask);
  for (int64_t x = 0; x < width; x += 64) {
    const int64_t left = width - x;
    bits[x / 64] = left >= 64 ? nonzero_bits_64(row + x) : nonzero_bits(row + x, static_cast<int>(left));
  }
}

inline uint64_t* row_bits(const LabelImage& a, int64_t row) { return a.bits + row * a.row_words; }

// The run that a pixel of the band in this column belongs to.
inline int32_t run_at(const LabelImage& a, int64_t band, int64_t column) {
  const int64_t word = band * a.row_words + column / 64;
  const uint64_t up_to = ~uint64_t{0} >> (63 - column % 64);
  return a.runs_before[word] + static_cast<int32_t>(__builtin_popcountll(a.starts[word] & up_to)) - 1;
}

// Packs the rows of a band; those beyond the mask's end stay zero. Returns the number of pixels.
inline int64_t pack_band(const LabelImage& a, int64_t band) {
  int64_t pixels = 0;
  for (int64_t row = band * a.band_rows; row < (band + 1) * a.band_rows; ++row) {
    uint64_t* bits = row_bits(a, row);
    if (row >= a.mask.rows) {
      for (int64_t w = 0; w < a.row_words; ++w) bits[w] = 0;
      continue;
    }
    const char* mask = static_cast<const char*>(a.mask.data) + row * a.mask.row_stride * a.mask.element_size;
    switch (a.mask.element_size) {
      case 1:
        pack_row<uint8_t>(mask, a.mask.width, bits);
        break;
      case 2:
        pack_row<uint16_t>(mask, a.mask.width, bits);
        break;
      case 4:
        pack_row<uint32_t>(mask, a.mask.width, bits);
        break;
      default:
        pack_row<uint64_t>(mask, a.mask.width, bits);
        break;
    }
    bits[a.row_words - 1] = 0;
    for (int64_t w = 0; w < a.row_words; ++w) pixels += __builtin_popcountll(bits[w]);
  }
  return pixels;
}

}  // namespace
}  // namespace stadx::STADX_ISA
