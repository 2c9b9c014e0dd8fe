// From the labels of a mask's runs (label_regions_kernel.cpp) to those of its pixels, or to lists of the
// pixels.
#include "cpu/eight_lanes.h"
#include "cpu/isa.h"
#include "cpu/kernels.h"
#include "cpu/mask_bits.h"
#include "cpu/neon.h"

namespace stadx::STADX_ISA {
namespace {

// Calls stretch(begin, end) for every maximal stretch of set bits; bits(word) gives the words.
template <typename Bits, typename Stretch>
inline void for_each_stretch(int64_t words, const Bits& bits, const Stretch& stretch) {
  uint64_t before = 0;
  int64_t begin = 0;
  bool inside = false;
  for (int64_t w = 0; w < words; ++w) {  // the last word is zero: it ends every stretch
    const uint64_t word = bits(w);
    for (uint64_t edges = word ^ (word << 1 | before); edges != 0; edges &= edges - 1) {
      const int64_t x = w * 64 + __builtin_ctzll(edges);
      if (inside) stretch(begin, x);
      begin = x;
      inside = !inside;
    }
    before = word >> 63;
  }
}

#if defined(__AVX2__)
// Past: labels go past the caches, which spares reading the lines that are written.
template <bool Past>
inline void put_8(int32_t* out, __m256i labels) {
  if constexpr (Past) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(out), labels);
  } else {
    store_8(out, labels);
  }
}
#endif

// In pieces: all 256 bytes at once become `rep stos`, which takes several times as long.
template <bool Past>
inline void put_zeros(int32_t* out) {
#if defined(__AVX2__)
  for (int i = 0; i < 64; i += 8) put_8<Past>(out + i, _mm256_setzero_si256());
#else
  for (int i = 0; i < 64; i += 16) __builtin_memset(out + i, 0, 64);
#endif
}

// 64 columns of `Rows` rows of a band: the label of the run that a column lies in where the row has a pixel,
// else 0. label: of the run before the first that begins here. Returns that of the last.
template <bool Past, int Rows>
inline const int32_t* paint_word(uint64_t starts, const uint64_t (&bits)[Rows], const int32_t* label,
                                 int32_t* const (&out)[Rows]) {
  uint64_t any = 0;
  for (const uint64_t row : bits) any |= row;
  if (any == 0) {
    for (int32_t* const row : out) put_zeros<Past>(row);
    return label;
  }
#if defined(__AVX2__)
  for (int x = 0; x < 64; x += 8) {
    const unsigned here = static_cast<unsigned>(starts >> x & 255);
    const __m256i labels = _mm256_permutevar8x32_epi32(load_8(label), load_8(eight_lanes.rank[here]));
    label += __builtin_popcount(here);
    for (int r = 0; r < Rows; ++r) {
#if defined(__AVX512VL__)
      put_8<Past>(out[r] + x, _mm256_maskz_mov_epi32(static_cast<__mmask8>(bits[r] >> x), labels));
#else
      put_8<Past>(out[r] + x, _mm256_and_si256(labels, lanes_of(static_cast<unsigned>(bits[r] >> x & 255))));
#endif
    }
  }
#elif defined(__aarch64__)
  for (int half = 0; half < 64; half += 32) {
    uint32x4_t bit = {1, 2, 4, 8};  // of the next columns in this half
    uint32x4_t pixels[Rows];
    for (int r = 0; r < Rows; ++r) pixels[r] = vdupq_n_u32(static_cast<uint32_t>(bits[r] >> half));
    for (int x = half; x < half + 32; x += 4, bit = vshlq_n_u32(bit, 4)) {
      const unsigned here = static_cast<unsigned>(starts >> x & 15);
      const uint32x4_t labels =
          choose_4(vld1q_u32(reinterpret_cast<const uint32_t*>(label)), four_lanes.rank[here]);
      label += four_lanes.count[here];
      for (int r = 0; r < Rows; ++r) {
        vst1q_s32(out[r] + x, vreinterpretq_s32_u32(vandq_u32(labels, vtstq_u32(pixels[r], bit))));
      }
    }
  }
#else
  for (int x = 0; x < 64; ++x) {
    label += starts >> x & 1;
    for (int r = 0; r < Rows; ++r) out[r][x] = bits[r] >> x & 1 ? *label : 0;
  }
#endif
  return label;
}

// The labels of `Rows` rows from the first of a band on.
template <bool Past, int Rows>
inline void paint_rows(const LabelImage& a, int64_t band, int32_t* labels) {
  const int64_t width = a.mask.width, first_row = band * a.band_rows;
  const uint64_t *starts = a.starts + band * a.row_words, *bits = row_bits(a, first_row);
  const int32_t* label = a.parent + band * a.band_room - 1;  // of the run before the first: never painted
  labels += first_row * width;
  uint64_t word[Rows];
  int32_t* out[Rows];
  const int64_t whole = width / 64;
  for (int64_t w = 0; w < whole; ++w) {
    for (int r = 0; r < Rows; ++r) {
      word[r] = bits[r * a.row_words + w];
      out[r] = labels + r * width + w * 64;
    }
    label = paint_word<Past, Rows>(starts[w], word, label, out);
  }
  if (width % 64 == 0) return;
  int32_t last[Rows][64];  // the columns of a word that is not whole
  for (int r = 0; r < Rows; ++r) {
    word[r] = bits[r * a.row_words + whole];
    out[r] = last[r];
  }
  paint_word<false, Rows>(starts[whole], word, label, out);
  for (int r = 0; r < Rows; ++r) {
    __builtin_memcpy(labels + r * width + whole * 64, last[r], sizeof(int32_t) * (width % 64));
  }
}

template <bool Past>
void paint(const LabelImage& a, int64_t first_band, int64_t last_band, int32_t* labels) {
  for (int64_t band = first_band; band < last_band; ++band) {
    if (a.mask.rows - band * a.band_rows >= 2 && a.band_rows == 2) {
      paint_rows<Past, 2>(a, band, labels);
    } else {
      paint_rows<Past, 1>(a, band, labels);
    }
  }
}

template <typename T>
void gather_row(const LabelImage& a, int64_t row, const void* map, const DefectPixels& out, int64_t& count) {
  const T* scores = static_cast<const T*>(map);
  T* out_scores = static_cast<T*>(out.scores);
  const uint64_t* bits = row_bits(a, row);
  for_each_stretch(
      a.row_words, [&](int64_t w) { return bits[w]; },
      [&](int64_t begin, int64_t end) {
        const int32_t label = a.parent[run_at(a, row / a.band_rows, begin)];
        const int32_t region = out.first_region + label - 1;
        out.areas[label - 1] += end - begin;
        for (int64_t x = begin; x < end; ++x, ++count) {
          out_scores[count] = scores[x];
          out.regions[count] = region;
        }
      });
}

}  // namespace

void label_paint(const LabelImage& a, int64_t first_band, int64_t last_band, int32_t* labels) {
#if defined(__AVX2__)
  // From 2 MiB on, when most of what is written would have left the L2 cache before anybody reads it.
  constexpr int64_t kManyPixels = int64_t{1} << 19;
  const bool aligned = a.mask.width % 8 == 0 && reinterpret_cast<uintptr_t>(labels) % 32 == 0;
  if (aligned && a.mask.rows * a.mask.width >= kManyPixels) {
    paint<true>(a, first_band, last_band, labels);
    _mm_sfence();  // before other threads read them
    return;
  }
#endif
  paint<false>(a, first_band, last_band, labels);
}

void label_gather(const LabelImage& a, const void* map, int64_t row_stride, int element_size,
                  const DefectPixels& out) {
  int64_t count = 0;
  for (int64_t row = 0; row < a.mask.rows; ++row) {
    const char* scores = static_cast<const char*>(map) + row * row_stride * element_size;
    if (element_size == 4) {
      gather_row<uint32_t>(a, row, scores, out, count);
    } else {
      gather_row<uint64_t>(a, row, scores, out, count);
    }
  }
}

}  // namespace stadx::STADX_ISA
