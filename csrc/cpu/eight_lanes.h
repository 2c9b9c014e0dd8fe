// Tables for vectors of 8 lanes whose lanes are chosen by the bits of a byte.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

#if defined(__AVX2__)
#include <immintrin.h>

namespace stadx::STADX_ISA {
namespace {

struct EightLanes {
  alignas(32) uint32_t chosen[256][8] = {};  // [m]: the lanes whose bit is set in m, in order
  alignas(32) uint32_t rank[256][8] = {};    // [m][i]: how many of the lanes 0 … i are set in m
  alignas(32) uint32_t bit[8] = {};          // [i]: 1 << i
  alignas(32) uint32_t lane[8] = {};         // [i]: i

  constexpr EightLanes() {
    for (unsigned i = 0; i < 8; ++i) {
      bit[i] = 1u << i;
      lane[i] = i;
    }
    for (unsigned m = 0; m < 256; ++m) {
      unsigned count = 0;
      for (unsigned i = 0; i < 8; ++i) {
        if (m >> i & 1) chosen[m][count++] = i;
        rank[m][i] = count;
      }
    }
  }
};
constexpr EightLanes eight_lanes;

inline __m256i load_8(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

inline void store_8(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

// The bits of 8 comparisons.
inline unsigned bits_of_8(__m256i v) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(v)));
}

// All bits of the lanes whose bit is set in m.
inline __m256i lanes_of(unsigned m) {
  const __m256i bit = load_8(eight_lanes.bit);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(m)), bit), bit);
}

// The lanes whose bit is set in m, in order; the others follow as lane 0.
inline __m256i choose_8(__m256i v, unsigned m) {
  return _mm256_permutevar8x32_epi32(v, load_8(eight_lanes.chosen[m]));
}

}  // namespace
}  // namespace stadx::STADX_ISA
#endif
