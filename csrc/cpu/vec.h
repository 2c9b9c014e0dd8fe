// Vectors of the instruction set being compiled (GCC and Clang vector types) and loads that widen to float.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace stadx::STADX_ISA {
namespace {

constexpr int kLanes = STADX_VECTOR_BYTES / 4;

typedef float FloatVec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t WordVec __attribute__((vector_size(kLanes * 4)));
typedef uint16_t HalfWordVec __attribute__((vector_size(kLanes * 2)));

// The 16 bits of a bfloat16: the upper half of a float.
struct BFloat16 {
  uint16_t bits;
};

inline float load(const float* p) { return *p; }

inline float load(const BFloat16* p) {
  const uint32_t word = static_cast<uint32_t>(p->bits) << 16;
  float value;
  __builtin_memcpy(&value, &word, 4);
  return value;
}

inline FloatVec load_vec(const float* p) {
  FloatVec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

inline FloatVec load_vec(const BFloat16* p) {
  HalfWordVec half;
  __builtin_memcpy(&half, p, sizeof half);
  const WordVec word = __builtin_convertvector(half, WordVec) << 16;
  return (FloatVec)word;  // same bits
}

inline void store_vec(float* p, FloatVec v) { __builtin_memcpy(p, &v, sizeof v); }

// Sum over the lanes, as a tree of halves: the same order whatever surrounds it.
inline float horizontal_sum(FloatVec v) {
  float lane[kLanes];
  store_vec(lane, v);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

}  // namespace
}  // namespace stadx::STADX_ISA
