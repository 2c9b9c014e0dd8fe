// Connected regions of a mask, on its bits. Rows are taken in bands: two rows where corners connect (8
// neighbours), since then pixels of neighbouring columns of a band always touch, else one. A run is a maximal
// stretch of columns with a pixel in the band; runs of neighbouring bands are joined by union-find where
// their pixels touch.
#include "cpu/isa.h"
#include "cpu/kernels.h"
#include "cpu/mask_bits.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace stadx::STADX_ISA {
namespace {

// The band's first row of bits, and its last.
struct Band {
  const uint64_t *top, *bottom;

  uint64_t any(int64_t word) const { return top[word] | bottom[word]; }
};

inline Band band_at(const LabelImage& a, int64_t band) {
  return {row_bits(a, band * a.band_rows), row_bits(a, (band + 1) * a.band_rows - 1)};
}

// Raster index of the first pixel of the run that begins at bit x of a word: in the top row, if any.
inline int32_t first_pixel(const LabelImage& a, const Band& rows, int64_t band, int64_t word, int x) {
  const int64_t top = band * a.band_rows * a.mask.width;
  uint64_t begin = uint64_t{1} << x;
  for (int64_t w = word;; ++w, begin = 1) {
    const uint64_t columns = rows.any(w);
    const uint64_t run = columns & ~(columns + begin) & ~(begin - 1);  // the run's bits in this word
    if (const uint64_t found = rows.top[w] & run; found != 0) {
      return static_cast<int32_t>(top + w * 64 + __builtin_ctzll(found));
    }
    if ((run >> 63) == 0 || (rows.any(w + 1) & 1) == 0) break;
  }
  return static_cast<int32_t>(top + a.mask.width + word * 64 + x);
}

inline void find_runs(const LabelImage& a, int64_t band) {
  const Band rows = band_at(a, band);
  const int64_t offset = band * a.row_words;
  int32_t run = static_cast<int32_t>(band * a.band_room);
  uint64_t before = 0;  // the column before the word, as bit 0
  for (int64_t w = 0; w < a.row_words; ++w) {
    const uint64_t columns = rows.any(w);
    uint64_t starts = columns & ~(columns << 1 | before);
    a.starts[offset + w] = starts;
    a.runs_before[offset + w] = run;
    const bool from_top = (starts & ~rows.top[w]) == 0;  // each run's first pixel is where it begins
    const int32_t corner = static_cast<int32_t>(band * a.band_rows * a.mask.width + w * 64);
    for (; starts != 0; starts &= starts - 1, ++run) {
      const int x = __builtin_ctzll(starts);
      a.parent[run] = run;
      a.first[run] = from_top ? corner + x : first_pixel(a, rows, band, w, x);
    }
    before = columns >> 63;
  }
  a.band_end[band] = run;
}

// The run that a pixel of the band in this column belongs to.
inline int32_t run_at(const LabelImage& a, int64_t band, int64_t column) {
  const int64_t word = band * a.row_words + column / 64;
  const uint64_t up_to = ~uint64_t{0} >> (63 - column % 64);
  return a.runs_before[word] + static_cast<int32_t>(__builtin_popcountll(a.starts[word] & up_to)) - 1;
}

inline int32_t find_root(int32_t* parent, int32_t i) {
  for (int32_t above = parent[i]; above != i; above = parent[i]) {
    const int32_t next = parent[above];
    parent[i] = next;  // halve the path on the way
    i = next;
  }
  return i;
}

// The run with the earlier first pixel becomes the root, so that roots come in the regions' raster order.
inline void unite(const LabelImage& a, int32_t i, int32_t j) {
  i = find_root(a.parent, i);
  j = find_root(a.parent, j);
  if (a.first[i] < a.first[j]) {
    a.parent[j] = i;
  } else {
    a.parent[i] = j;
  }
}

// Calls touch(column above, column below) wherever pixels of two rows of bits touch, at least once for every
// two runs that do: of neighbouring contacts that can only join the same runs, the first is enough.
// single(word): no run of either band begins in that word.
template <bool Corners, typename Single, typename Touch>
inline void for_each_contact(const uint64_t* above, const uint64_t* below, int64_t words,
                             const Single& single, const Touch& touch) {
  uint64_t both_before = 0, above_before = 0, below_before = 0;  // the column before the word, as bit 0
  for (int64_t w = 0; w < words; ++w) {
    const uint64_t p = above[w], q = below[w], both = p & q;
    uint64_t same = both & ~(both << 1 | both_before);
    uint64_t right = 0, left = 0;
    if constexpr (Corners) {
      const bool more = w + 1 < words;
      const uint64_t p_right = p >> 1 | (more ? above[w + 1] << 63 : 0);
      const uint64_t q_right = q >> 1 | (more ? below[w + 1] << 63 : 0);
      right = p & q_right & ~q & ~p_right;
      left = p & (q << 1 | below_before) & ~q & ~(p << 1 | above_before);
      above_before = p >> 63;
      below_before = q >> 63;
    }
    both_before = both >> 63;
    if ((same | right | left) == 0) continue;
    if (single(w)) {  // then one contact does, but for those with the words beside
      same &= ~same + 1;
      right = (right & (~right + 1)) | (right & uint64_t{1} << 63);
      left = (left & (~left + 1)) | (left & 1);
    }
    const int64_t x = w * 64;
    for (; same != 0; same &= same - 1) touch(x + __builtin_ctzll(same), x + __builtin_ctzll(same));
    for (; right != 0; right &= right - 1) touch(x + __builtin_ctzll(right), x + __builtin_ctzll(right) + 1);
    for (; left != 0; left &= left - 1) touch(x + __builtin_ctzll(left), x + __builtin_ctzll(left) - 1);
  }
}

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
// For 8 columns: lane i of rank[starts] counts the starts in columns 0 … i, lane i of bit is 1 << i.
struct ColumnTable {
  alignas(32) uint32_t rank[256][8] = {};
  alignas(32) uint32_t bit[8] = {};

  constexpr ColumnTable() {
    for (int i = 0; i < 8; ++i) bit[i] = 1u << i;
    for (int starts = 0; starts < 256; ++starts) {
      uint32_t count = 0;
      for (int i = 0; i < 8; ++i) rank[starts][i] = count += starts >> i & 1;
    }
  }
};
constexpr ColumnTable table_of_8;

inline __m256i load_8(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
#endif

// Labels of the columns of a band, [width] and up to 8 more; between runs they are those of the run before.
inline void spread_labels(const LabelImage& a, int64_t band, int32_t* out) {
  const uint64_t* starts = a.starts + band * a.row_words;
  const int32_t* label = a.parent + band * a.band_room - 1;  // of the run before the first: never painted
  for (int64_t x = 0; x < a.mask.width; x += 8) {
    const unsigned here = static_cast<unsigned>(starts[x / 64] >> x % 64 & 255);
#if defined(__AVX2__)
    const __m256i labels = _mm256_permutevar8x32_epi32(load_8(label), load_8(table_of_8.rank[here]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x), labels);
    label += __builtin_popcount(here);
#else
    for (int i = 0; i < 8; ++i) out[x + i] = *(label += here >> i & 1);
#endif
  }
}

// The spread labels where the row has a pixel, else 0.
inline void paint_row(const uint64_t* bits, int64_t width, const int32_t* spread, int32_t* out) {
  int64_t x = 0;
#if defined(__AVX2__)
  const __m256i bit = load_8(table_of_8.bit);
  for (; x + 8 <= width; x += 8) {
    const __m256i here = _mm256_set1_epi32(static_cast<int>(bits[x / 64] >> x % 64 & 255));
    const __m256i inside = _mm256_cmpeq_epi32(_mm256_and_si256(here, bit), bit);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x), _mm256_and_si256(load_8(spread + x), inside));
  }
#endif
  for (; x < width; ++x) out[x] = bits[x / 64] >> x % 64 & 1 ? spread[x] : 0;
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

void label_join(const LabelImage& a, int64_t band) {
  int32_t last_above = -1, last_below = -1;
  const auto touch = [&](int64_t x_above, int64_t x_below) {
    const int32_t i = run_at(a, band - 1, x_above), j = run_at(a, band, x_below);
    if (i == last_above && j == last_below) return;
    last_above = i;
    last_below = j;
    if (a.parent[j] == j) {  // its own region so far: whatever the run above belongs to begins earlier
      a.parent[j] = a.parent[i];
    } else {
      unite(a, i, j);
    }
  };
  const uint64_t* starts = a.starts + band * a.row_words;
  const auto single = [&](int64_t w) { return (starts[w] | starts[w - a.row_words]) == 0; };
  const uint64_t *above = band_at(a, band - 1).bottom, *below = band_at(a, band).top;
  if (a.band_rows == 2) {
    for_each_contact<true>(above, below, a.row_words, single, touch);
  } else {
    for_each_contact<false>(above, below, a.row_words, single, touch);
  }
}

int64_t label_find(const LabelImage& a, int64_t first_band, int64_t last_band) {
  int64_t pixels = 0;
  for (int64_t band = first_band; band < last_band; ++band) {
    pixels += pack_band(a, band);
    find_runs(a, band);
    if (band > first_band) label_join(a, band);
  }
  return pixels;
}

// A parent's first pixel is never later than its child's, so that one sweep in that order turns parents into
// labels; `parent` holds them from here on. In a band of two rows, runs with a pixel in the first come first.
int64_t label_number(const LabelImage& a) {
  int32_t count = 0;
  for (int64_t band = 0; band < a.bands; ++band) {
    const int32_t begin = static_cast<int32_t>(band * a.band_room), end = a.band_end[band];
    const int32_t second_row = static_cast<int32_t>((band * a.band_rows + 1) * a.mask.width);
    const auto number = [&](int32_t i) {
      const int32_t parent = a.parent[i], next = count + 1;
      const bool root = parent == i;
      if (root) a.roots[count] = a.first[i];
      count = root ? next : count;
      a.parent[i] = root ? next : a.parent[parent];
    };
    for (int32_t i = begin; i < end; ++i) {
      if (a.first[i] < second_row) number(i);
    }
    if (a.band_rows == 1) continue;
    for (int32_t i = begin; i < end; ++i) {
      if (a.first[i] >= second_row) number(i);
    }
  }
  return count;
}

void label_paint(const LabelImage& a, int64_t first_band, int64_t last_band, int32_t* labels,
                 int32_t* scratch) {
  for (int64_t band = first_band; band < last_band; ++band) {
    spread_labels(a, band, scratch);
    for (int64_t row = band * a.band_rows; row < (band + 1) * a.band_rows && row < a.mask.rows; ++row) {
      paint_row(row_bits(a, row), a.mask.width, scratch, labels + row * a.mask.width);
    }
  }
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
