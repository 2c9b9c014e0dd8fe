// Connected regions of a mask: its horizontal runs, joined between neighbouring rows by union-find.
#include "cpu/isa.h"
#include "cpu/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
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
#else
  return nonzero_bits(p, 64);
#endif
}

template <typename T>
inline uint64_t nonzero_bits_64(const T* p) {
  return nonzero_bits(p, 64);
}

// Calls edge(x) at every x where the row changes between zero and non-zero, its borders being zero.
template <typename T, typename Edge>
inline void for_each_edge(const T* row, int64_t width, const Edge& edge) {
  uint64_t previous = 0;  // the pixel before the current word, as bit 0
  for (int64_t x = 0; x < width; x += 64) {
    const int count = static_cast<int>(width - x < 64 ? width - x : 64);
    const uint64_t bits = count == 64 ? nonzero_bits_64(row + x) : nonzero_bits(row + x, count);
    uint64_t edges = bits ^ (bits << 1 | previous);
    for (; edges != 0; edges &= edges - 1) edge(static_cast<int32_t>(x + __builtin_ctzll(edges)));
    previous = bits >> 63;
  }
  if (previous) edge(static_cast<int32_t>(width));  // a run that ends with a full last word
}

template <typename T>
int64_t count_runs_of(const MaskView& mask) {
  int64_t edges = 0;
  for (int64_t y = 0; y < mask.rows; ++y) {
    for_each_edge(static_cast<const T*>(mask.data) + y * mask.row_stride, mask.width,
                  [&](int32_t) { ++edges; });
  }
  return edges / 2;
}

template <typename T>
void find_runs_of(const MaskView& mask, Run* runs, int64_t* row_begin) {
  int64_t edges = 0;  // even: the next edge begins a run
  for (int64_t y = 0; y < mask.rows; ++y) {
    row_begin[y] = edges / 2;
    for_each_edge(static_cast<const T*>(mask.data) + y * mask.row_stride, mask.width, [&](int32_t x) {
      Run& run = runs[edges / 2];
      if (edges % 2 == 0) {
        run.begin = x;
        run.parent = static_cast<int32_t>(edges / 2);
      } else {
        run.end = x;
      }
      ++edges;
    });
  }
  row_begin[mask.rows] = edges / 2;
}

inline int32_t find_root(Run* runs, int32_t i) {
  while (runs[i].parent != i) {
    runs[i].parent = runs[runs[i].parent].parent;  // halve the path on the way
    i = runs[i].parent;
  }
  return i;
}

// The earlier run becomes the root, so that roots come in the raster order of the regions' first pixels.
inline void unite(Run* runs, int32_t i, int32_t j) {
  i = find_root(runs, i);
  j = find_root(runs, j);
  if (i < j) {
    runs[j].parent = i;
  } else {
    runs[i].parent = j;
  }
}

// Joins the runs [a, a_end) of one row with the runs [b, b_end) of the next. Diagonal neighbours count when
// reach = 1.
inline void join_rows(Run* runs, int64_t a, int64_t a_end, int64_t b, int64_t b_end, int32_t reach) {
  while (a < a_end && b < b_end) {
    if (runs[a].begin < runs[b].end + reach && runs[b].begin < runs[a].end + reach) {
      unite(runs, static_cast<int32_t>(a), static_cast<int32_t>(b));
    }
    if (runs[a].end < runs[b].end) {
      ++a;
    } else {
      ++b;
    }
  }
}

}  // namespace

int64_t count_runs(const MaskView& mask) {
  switch (mask.element_size) {
    case 1:
      return count_runs_of<uint8_t>(mask);
    case 2:
      return count_runs_of<uint16_t>(mask);
    case 4:
      return count_runs_of<uint32_t>(mask);
    default:
      return count_runs_of<uint64_t>(mask);
  }
}

int64_t label_regions(const MaskView& mask, bool eight_connected, Run* runs, int64_t* row_begin,
                      int32_t* labels) {
  switch (mask.element_size) {
    case 1:
      find_runs_of<uint8_t>(mask, runs, row_begin);
      break;
    case 2:
      find_runs_of<uint16_t>(mask, runs, row_begin);
      break;
    case 4:
      find_runs_of<uint32_t>(mask, runs, row_begin);
      break;
    default:
      find_runs_of<uint64_t>(mask, runs, row_begin);
      break;
  }
  for (int64_t y = 1; y < mask.rows; ++y) {
    join_rows(runs, row_begin[y - 1], row_begin[y], row_begin[y], row_begin[y + 1], eight_connected ? 1 : 0);
  }

  // A parent is never later than its child, so one sweep turns parents into labels; `parent` holds them from
  // here on.
  int32_t count = 0;
  const int64_t num_runs = row_begin[mask.rows];
  for (int64_t i = 0; i < num_runs; ++i) {
    runs[i].parent = runs[i].parent == i ? ++count : runs[runs[i].parent].parent;
  }

  for (int64_t y = 0; y < mask.rows; ++y) {
    int32_t* row = labels + y * mask.width;
    int64_t x = 0;
    for (int64_t i = row_begin[y]; i < row_begin[y + 1]; ++i) {
      for (; x < runs[i].begin; ++x) row[x] = 0;
      for (; x < runs[i].end; ++x) row[x] = runs[i].parent;
    }
    for (; x < mask.width; ++x) row[x] = 0;
  }
  return count;
}

}  // namespace stadx::STADX_ISA
