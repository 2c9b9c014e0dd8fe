// Connected regions of a mask, on its bits. Rows are taken in bands: two rows where corners connect (8
// neighbours), since then pixels of neighbouring columns of a band always touch, else one. A run is a maximal
// stretch of columns with a pixel in the band; runs of neighbouring bands are joined by union-find where
// their pixels touch.
#include "cpu/eight_lanes.h"
#include "cpu/isa.h"
#include "cpu/kernels.h"
#include "cpu/mask_bits.h"

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

// Notes runs that begin in these columns of a word, each as its own root; `corner` is the pixel in the top
// row.
inline void note_runs(const LabelImage& a, uint64_t starts, int32_t corner, int32_t run) {
#if defined(__AVX2__)
  constexpr int kMany = 4;  // from here on 8 columns at a time are faster; more are written than there are
  if (__builtin_popcountll(starts) >= kMany) {
    const __m256i lane = load_8(eight_lanes.lane);
    for (int x = 0; x < 64; x += 8) {
      const unsigned here = static_cast<unsigned>(starts >> x & 255);
      store_8(a.parent + run, _mm256_add_epi32(lane, _mm256_set1_epi32(run)));
      store_8(a.first + run, _mm256_add_epi32(choose_8(lane, here), _mm256_set1_epi32(corner + x)));
      run += __builtin_popcount(here);
    }
    return;
  }
#endif
  for (; starts != 0; starts &= starts - 1, ++run) {
    a.parent[run] = run;
    a.first[run] = corner + __builtin_ctzll(starts);
  }
}

inline void find_runs(const LabelImage& a, int64_t band) {
  const Band rows = band_at(a, band);
  const int64_t offset = band * a.row_words;
  int32_t run = static_cast<int32_t>(band * a.band_room);
  uint64_t before = 0;  // the column before the word, as bit 0
  for (int64_t w = 0; w < a.row_words; ++w) {
    const uint64_t columns = rows.any(w), starts = columns & ~(columns << 1 | before);
    a.starts[offset + w] = starts;
    a.runs_before[offset + w] = run;
    before = columns >> 63;
    if (starts == 0) continue;
    note_runs(a, starts, static_cast<int32_t>(band * a.band_rows * a.mask.width + w * 64), run);
    for (uint64_t below = starts & ~rows.top[w]; below != 0; below &= below - 1) {
      const int x = __builtin_ctzll(below);
      a.first[run + __builtin_popcountll(starts & ((uint64_t{1} << x) - 1))] =
          first_pixel(a, rows, band, w, x);
    }
    run += static_cast<int32_t>(__builtin_popcountll(starts));
  }
  a.band_end[band] = run;
}

inline int32_t find_root(int32_t* parent, int32_t i) {
  for (int32_t above = parent[i]; above != i; above = parent[i]) {
    const int32_t next = parent[above];
    parent[i] = next;  // halve the path on the way
    i = next;
  }
  return i;
}

// Of two roots that with the earlier first pixel becomes the other's, so that roots come in the regions'
// raster order. Returns it.
inline int32_t unite(const LabelImage& a, int32_t i, int32_t j) {
  if (a.first[i] < a.first[j]) {
    a.parent[j] = i;
    return i;
  }
  a.parent[i] = j;
  return j;
}

// Calls touch(column above, column below) wherever pixels of two rows of bits touch, at least once for every
// two runs that do: of neighbouring contacts that can only join the same runs, the first is enough.
// alike(word, both): whether each run of either band that begins in that word touches the run of the other
// band that begins in the same column, and those are joined; `both` are the columns with pixels of both rows.
template <bool Corners, typename Alike, typename Touch>
inline void for_each_contact(const uint64_t* above, const uint64_t* below, int64_t words, const Alike& alike,
                             const Touch& touch) {
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
    if (const auto [joined, begun] = alike(w, both); joined) {
      const uint64_t others = (begun & (~begun + 1)) - 1;  // columns of the runs before: one contact does,
      same &= others;                                      // but for those with the words beside
      same &= ~same + 1;
      right = (right & others & (~(right & others) + 1)) | (right & uint64_t{1} << 63);
      left = (left & others & (~(left & others) + 1)) | (left & 1);
    }
    const int64_t x = w * 64;
    for (; same != 0; same &= same - 1) touch(x + __builtin_ctzll(same), x + __builtin_ctzll(same));
    for (; right != 0; right &= right - 1) touch(x + __builtin_ctzll(right), x + __builtin_ctzll(right) + 1);
    for (; left != 0; left &= left - 1) touch(x + __builtin_ctzll(left), x + __builtin_ctzll(left) - 1);
  }
}

// Joins a band with the one above. Fresh: nothing has been joined with the band's runs so far.
template <bool Fresh>
inline void join(const LabelImage& a, int64_t band) {
  int32_t last_above = -1, last_below = -1, root = -1;  // that of last_below; −1: not looked for yet
  const auto touch = [&](int64_t x_above, int64_t x_below) {
    const int32_t i = run_at(a, band - 1, x_above), j = run_at(a, band, x_below);
    if (i == last_above && j == last_below) return;
    last_above = i;
    if (j != last_below) root = -1;
    last_below = j;
    if (root < 0 &&
        a.parent[j] == j) {  // its own region so far: whatever the run above belongs to begins earlier
      a.parent[j] = a.parent[i];
    } else {
      root = unite(a, find_root(a.parent, i), root < 0 ? find_root(a.parent, j) : root);
    }
  };
  struct Begun {
    bool joined;
    uint64_t starts;
  };
  const int64_t offset = band * a.row_words;
  const auto alike = [&](int64_t w, uint64_t both) -> Begun {
    const uint64_t starts = a.starts[offset + w];
    if (starts != a.starts[offset + w - a.row_words] || (starts & ~both) != 0) return {false, starts};
    if (starts == 0) return {true, starts};
    if (!Fresh) return {false, starts};
    const int32_t* from = a.parent + a.runs_before[offset + w - a.row_words];
    int32_t* const to = a.parent + a.runs_before[offset + w];
    const int count = __builtin_popcountll(starts);
    for (int k = 0; k < count; ++k) to[k] = from[k];
    return {true, starts};
  };
  const uint64_t *above = band_at(a, band - 1).bottom, *below = band_at(a, band).top;
  if (a.band_rows == 2) {
    for_each_contact<true>(above, below, a.row_words, alike, touch);
  } else {
    for_each_contact<false>(above, below, a.row_words, alike, touch);
  }
}

// Turns the parents of a band's runs into labels, of those that begin in the given row of the band, count + 1
// on for roots. Returns the new count; `more` becomes true if there are others.
template <bool SecondRow>
inline int32_t number_row(const LabelImage& a, int64_t band, int32_t count, bool& more) {
  const int32_t second_row = static_cast<int32_t>((band * a.band_rows + 1) * a.mask.width);
  const auto number = [&](int32_t i) {
    const bool others = (a.first[i] >= second_row) != SecondRow;
    more |= others;
    if (others) return;
    const int32_t parent = a.parent[i];
    if (parent == i) a.roots[count] = a.first[i];
    a.parent[i] = parent == i ? ++count : a.parent[parent];
  };
  int32_t i = static_cast<int32_t>(band * a.band_room);
  const int32_t end = a.band_end[band];
#if defined(__AVX2__)
  const __m256i limit = _mm256_set1_epi32(second_row - 1), lane = load_8(eight_lanes.lane);
  for (; i + 8 <= end; i += 8) {
    const __m256i parent = load_8(a.parent + i), first = load_8(a.first + i);
    const __m256i index = _mm256_add_epi32(lane, _mm256_set1_epi32(i));
    const __m256i below = _mm256_cmpgt_epi32(first, limit), own = _mm256_cmpeq_epi32(parent, index);
    const unsigned wanted = SecondRow ? bits_of_8(below) : 255 & ~bits_of_8(below);
    more |= wanted != 255;
    if (wanted == 0) continue;
    const unsigned roots = bits_of_8(own) & wanted, others = wanted & ~roots;
    __m256i label = _mm256_add_epi32(load_8(eight_lanes.rank[roots]), _mm256_set1_epi32(count));
    if (others != 0) {
      // those among these very runs would not be labels yet
      const __m256i here = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(i), parent),
                                               _mm256_cmpgt_epi32(_mm256_set1_epi32(i + 8), parent));
      if ((bits_of_8(here) & others) != 0) {
        for (int32_t k = i; k < i + 8; ++k) number(k);
        continue;
      }
      const int32_t next = a.parent[i];
      const __m256i in_a_row = _mm256_cmpeq_epi32(parent, _mm256_add_epi32(lane, _mm256_set1_epi32(next)));
      label = others == 255 && bits_of_8(in_a_row) == 255
                  ? load_8(a.parent + next)
                  : _mm256_mask_i32gather_epi32(label, a.parent, parent, lanes_of(others), 4);
    }
    if (roots != 0) store_8(a.roots + count, choose_8(first, roots));  // more than there are
    count += __builtin_popcount(roots);
    store_8(a.parent + i, wanted == 255 ? label : _mm256_blendv_epi8(parent, label, lanes_of(wanted)));
  }
#endif
  for (; i < end; ++i) number(i);
  return count;
}

}  // namespace

void label_join(const LabelImage& a, int64_t band) { join<false>(a, band); }

int64_t label_find(const LabelImage& a, int64_t first_band, int64_t last_band) {
  int64_t pixels = 0;
  for (int64_t band = first_band; band < last_band; ++band) {
    pixels += pack_band(a, band);
    find_runs(a, band);
    if (band > first_band) join<true>(a, band);
  }
  return pixels;
}

// A parent's first pixel is never later than its child's, so that one sweep in that order turns parents into
// labels; `parent` holds them from here on. In a band of two rows, runs with a pixel in the first come first.
int64_t label_number(const LabelImage& a) {
  int32_t count = 0;
  for (int64_t band = 0; band < a.bands; ++band) {
    bool more = false;
    count = number_row<false>(a, band, count, more);
    if (more) count = number_row<true>(a, band, count, more);
  }
  return count;
}

}  // namespace stadx::STADX_ISA
