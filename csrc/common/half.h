// bfloat16 and float16 as 16 bits, for the GPU and for the host; conversions round to nearest, ties to even.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define STADX_HALF_FUNCTION __device__ __forceinline__
#else
#define STADX_HALF_FUNCTION \
  static inline  // internal: each instruction set's copy of the kernels needs its own
#endif

namespace stadx {

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

STADX_HALF_FUNCTION float as_float(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

STADX_HALF_FUNCTION uint32_t as_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

STADX_HALF_FUNCTION float to_float(float x) { return x; }
STADX_HALF_FUNCTION float to_float(BFloat16 x) { return as_float(static_cast<uint32_t>(x.bits) << 16); }

#if defined(__CUDACC__)

STADX_HALF_FUNCTION float to_float(Float16 x) { return __half2float(__ushort_as_half(x.bits)); }
STADX_HALF_FUNCTION void from_float(float x, float& out) { out = x; }
STADX_HALF_FUNCTION void from_float(float x, BFloat16& out) {
  out.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
STADX_HALF_FUNCTION void from_float(float x, Float16& out) {
  out.bits = __half_as_ushort(__float2half_rn(x));
}

#else

STADX_HALF_FUNCTION float to_float(Float16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16, rest = x.bits & 0x7FFF;
  if (rest >= 0x7C00) return as_float(sign | 0x7F800000u | (rest & 0x3FF) << 13);  // infinity, NaN
  return as_float(sign | as_bits(as_float(rest << 13) * as_float(0x77800000u)));   // times 2^112, exact
}

STADX_HALF_FUNCTION void from_float(float x, float& out) { out = x; }

STADX_HALF_FUNCTION void from_float(float x, BFloat16& out) {
  const uint32_t bits = as_bits(x);
  const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  out.bits = static_cast<uint16_t>(nan ? bits >> 16 | 0x40u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

STADX_HALF_FUNCTION void from_float(float x, Float16& out) {
  const uint32_t bits = as_bits(x), sign = bits >> 16 & 0x8000u, rest = bits & 0x7FFFFFFFu;
  uint32_t half;
  if (rest > 0x7F800000u) {
    half = 0x7E00u;
  } else if (rest >= 0x477FF000u) {  // rounds to 65536 or more
    half = 0x7C00u;
  } else if (rest < 0x38800000u) {  // below 2^-14: let an addition round to multiples of 2^-24
    half = as_bits(as_float(rest) + 0.5f) - 0x3F000000u;
  } else {
    half = (rest + 0xFFFu + (rest >> 13 & 1u) - 0x38000000u) >> 13;
  }
  out.bits = static_cast<uint16_t>(sign | half);
}

#endif

}  // namespace stadx
