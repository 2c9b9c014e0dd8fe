// Sixteen bytes of float, bfloat16 or float16 at once, as four words; or one element as one word.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "cuda/block.cuh"

namespace stadx::cuda {

template <typename T>
inline constexpr bool kIsBFloat16 = false;
template <>
inline constexpr bool kIsBFloat16<BFloat16> = true;

template <int N>
struct Words {
  uint32_t word[N];
};

// Elements that a thread handles together: kWords of 32 bits, of which a lone half uses the lower part.
template <typename T, bool kWide>
struct Chunk {
  static constexpr int kWords = kWide ? 4 : 1;
  static constexpr int kSize = kWide ? 16 / static_cast<int>(sizeof(T)) : 1;
  static constexpr int kPerWord = kWide ? 4 / static_cast<int>(sizeof(T)) : 1;
  using Raw = Words<kWords>;

  STADX_DEVICE static Raw load(const T* p) {
    Raw raw;
    if constexpr (kWide) {
#if defined(__CUDACC__)
      const uint4 q = __ldg(reinterpret_cast<const uint4*>(p));
      raw.word[0] = q.x;
      raw.word[1] = q.y;
      raw.word[2] = q.z;
      raw.word[3] = q.w;
#else
      check_aligned(p);
      __builtin_memcpy(raw.word, p, 16);
#endif
    } else if constexpr (sizeof(T) == 4) {
      raw.word[0] = as_bits(load_constant(p));
    } else {
      raw.word[0] = load_constant(reinterpret_cast<const uint16_t*>(p));
    }
    return raw;
  }

  STADX_DEVICE static void store(T* p, const Raw& raw) {
    if constexpr (kWide) {
#if defined(__CUDACC__)
      // Left to itself the compiler splits some of these into four.
      asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(raw.word[0]), "r"(raw.word[1]),
                   "r"(raw.word[2]), "r"(raw.word[3]));
#else
      check_aligned(p);
      __builtin_memcpy(p, raw.word, 16);
#endif
    } else {
      *p = element(raw, 0);
    }
  }

  STADX_DEVICE static T element(const Raw& raw, int i) {
    T value;
    if constexpr (sizeof(T) == 4) {
      value = as_float(raw.word[i]);
    } else {
      value.bits = static_cast<uint16_t>(raw.word[i / kPerWord] >> 16 * (i % kPerWord));
    }
    return value;
  }

  STADX_DEVICE static void set_element(Raw& raw, int i, float value) {
    T rounded;
    from_float(value, rounded);
    if constexpr (sizeof(T) == 4) {
      raw.word[i] = as_bits(rounded);
    } else if (i % kPerWord == 0) {
      raw.word[i / kPerWord] = rounded.bits;  // elements are set in order
    } else {
      raw.word[i / kPerWord] |= static_cast<uint32_t>(rounded.bits) << 16;
    }
  }

#if !defined(__CUDACC__)
  static void check_aligned(const void* p) {
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0)
      simt::fail("a wide access is not aligned to 16 bytes", __LINE__);
  }
#endif
};

// `kCount` floats that nobody writes, four at a time if kWide: then p is aligned to 16 bytes.
template <int kCount, bool kWide>
STADX_DEVICE void load_floats(const float* p, float* out) {
  if constexpr (kWide && kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const auto raw = Chunk<float, true>::load(p + i);
#pragma unroll
      for (int k = 0; k < 4; ++k) out[i + k] = as_float(raw.word[k]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) out[i] = load_constant(p + i);
  }
}

// The larger value of each element; NaN wins, as in PyTorch's pooling.
template <typename T, bool kWide>
STADX_DEVICE typename Chunk<T, kWide>::Raw max_of(const typename Chunk<T, kWide>::Raw& a,
                                                  const typename Chunk<T, kWide>::Raw& b) {
  using C = Chunk<T, kWide>;
  typename C::Raw result;
#if defined(__CUDACC__)
  for (int i = 0; i < C::kWords; ++i) {
    if constexpr (sizeof(T) == 4) {
      asm("max.NaN.f32 %0, %1, %2;"
          : "=f"(reinterpret_cast<float&>(result.word[i]))
          : "f"(as_float(a.word[i])), "f"(as_float(b.word[i])));
    } else if constexpr (kIsBFloat16<T>) {
      asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(result.word[i]) : "r"(a.word[i]), "r"(b.word[i]));
    } else {
      asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(result.word[i]) : "r"(a.word[i]), "r"(b.word[i]));
    }
  }
#else
  for (int i = 0; i < C::kSize; ++i) {
    const float x = to_float(C::element(a, i)), y = to_float(C::element(b, i));
    C::set_element(result, i, x > y || x != x ? x : y);
  }
#endif
  return result;
}

}  // namespace stadx::cuda
