// Vectors of the instruction set being compiled (GCC and Clang vector types) and loads that widen to float.
#pragma once

#if defined(__SSE__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cstdint>

#include "common/half.h"
#include "cpu/isa.h"

namespace stadx::STADX_ISA {
namespace {

constexpr int kLanes = STADX_VECTOR_BYTES / 4;

typedef float FloatVec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t WordVec __attribute__((vector_size(kLanes * 4)));
typedef uint16_t HalfWordVec __attribute__((vector_size(kLanes * 2)));

inline float load(const float* p) { return *p; }

inline float load(const BFloat16* p) { return to_float(*p); }

inline FloatVec load_vec(const float* p) {
  FloatVec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

inline FloatVec load_vec(const BFloat16* p) {
#if defined(__aarch64__)  // GCC 12 widens lane by lane
  return (FloatVec)vshll_n_u16(vld1_u16(&p->bits), 16);
#else
  HalfWordVec half;
  __builtin_memcpy(&half, p, sizeof half);
  const WordVec word = __builtin_convertvector(half, WordVec) << 16;
  return (FloatVec)word;  // same bits
#endif
}

inline void store_vec(float* p, FloatVec v) { __builtin_memcpy(p, &v, sizeof v); }

// One value in all lanes. (Subtracting zero never changes a value; adding it would turn −0 into 0, so that
// the compiler would have to do it.)
inline FloatVec broadcast(float value) { return value - FloatVec{}; }

// Past the caches, for what is next read when they have long been overwritten; p is aligned to the vector.
inline void stream_vec(float* p, FloatVec v) {
#if STADX_VECTOR_BYTES == 64
  _mm512_stream_ps(p, (__m512)v);
#elif STADX_VECTOR_BYTES == 32
  _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE__)
  _mm_stream_ps(p, (__m128)v);
#else
  store_vec(p, v);
#endif
}

// Makes streamed vectors visible to other threads.
inline void finish_streams() {
#if defined(__SSE__)
  _mm_sfence();
#endif
}

// The larger of each pair; where one is NaN, b or (aarch64) NaN.
inline FloatVec max_vec(FloatVec a, FloatVec b) {
#if STADX_VECTOR_BYTES == 64
  return (FloatVec)_mm512_max_ps((__m512)a, (__m512)b);
#elif STADX_VECTOR_BYTES == 32
  return (FloatVec)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE__)
  return (FloatVec)_mm_max_ps((__m128)a, (__m128)b);
#elif defined(__aarch64__)
  return (FloatVec)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
#else
  return a > b ? a : b;
#endif
}

// Lanes of a and b in turn: those of their first halves, of their second halves.
#if STADX_VECTOR_BYTES == 64
#define STADX_FIRST 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define STADX_SECOND 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif STADX_VECTOR_BYTES == 32
#define STADX_FIRST 0, 8, 1, 9, 2, 10, 3, 11
#define STADX_SECOND 4, 12, 5, 13, 6, 14, 7, 15
#else
#define STADX_FIRST 0, 4, 1, 5
#define STADX_SECOND 2, 6, 3, 7
#endif
#if defined(__clang__)
#define STADX_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else  // GCC 11 has no other
#define STADX_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, WordVec{__VA_ARGS__})
#endif

// Rows become columns: every step interleaves each row of the first half with one of the second.
inline void transpose(FloatVec (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
    FloatVec mixed[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      mixed[2 * i] = STADX_SHUFFLE(rows[i], rows[i + kLanes / 2], STADX_FIRST);
      mixed[2 * i + 1] = STADX_SHUFFLE(rows[i], rows[i + kLanes / 2], STADX_SECOND);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = mixed[i];
  }
}

// Sum over the lanes, as a tree of halves: the same order whatever surrounds it.
inline float horizontal_sum(FloatVec v) {
#if defined(__aarch64__)  // the loop below would make GCC keep v in memory all the while
  return vpadds_f32(vadd_f32(vget_low_f32((float32x4_t)v), vget_high_f32((float32x4_t)v)));
#else
  float lane[kLanes];
  store_vec(lane, v);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
#endif
}

}  // namespace
}  // namespace stadx::STADX_ISA
