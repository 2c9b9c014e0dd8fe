// What GCC does not make of plain loops and vectors on aarch64.
#pragma once

#include "cpu/compiler.h"
#include "cpu/vec.h"

#if defined(__aarch64__)
#include <arm_neon.h>

namespace stadx::STADX_ISA {
namespace {

// As load_vec, but never by way of general registers.
inline FloatVec load_four(const float* p) { return (FloatVec)vld1q_f32(p); }

// *p in the first lane; what the others hold does not matter.
inline FloatVec load_one(const float* p) {
  FloatVec one;
  asm("ldr %s0, %1" : "=w"(one) : "m"(*p));
  return one;
}

// sum + v · one lane of `factors`. In assembly, and in the order written: GCC 12 copies lanes that it needs
// twice into vectors of their own, and moves loads ahead of products until registers spill.
template <int Lane>
STADX_ALWAYS_INLINE FloatVec add_product(FloatVec sum, FloatVec v, FloatVec factors) {
  asm volatile("fmla %0.4s, %1.4s, %2.s[%c3]" : "+w"(sum) : "w"(v), "w"(factors), "i"(Lane));
  return sum;
}

// Tables for four columns of a mask, where runs begin at the set bits of m: never at neighbours, so that
// ranks fit four lanes.
struct FourLanes {
  alignas(16) uint8_t rank[16][16] = {};  // [m]: bytes of lane "bits set among 0 … i", for each lane i
  uint8_t count[16] = {};                 // [m]: bits set

  constexpr FourLanes() {
    for (unsigned m = 0; m < 16; ++m) {
      for (unsigned i = 0; i < 4; ++i) {
        count[m] = static_cast<uint8_t>(count[m] + (m >> i & 1));
        for (unsigned k = 0; k < 4; ++k) rank[m][4 * i + k] = static_cast<uint8_t>(4 * count[m] + k);
      }
    }
  }
};
constexpr FourLanes four_lanes;

// Lanes of v by the bytes that a table names.
inline uint32x4_t choose_4(uint32x4_t v, const uint8_t* bytes) {
  return vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(v), vld1q_u8(bytes)));
}

}  // namespace
}  // namespace stadx::STADX_ISA
#endif
