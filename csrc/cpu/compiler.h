// What the kernels ask of the compiler beyond the language: functions that must be inlined, loops to unroll.
#pragma once

#define STADX_ALWAYS_INLINE inline __attribute__((always_inline))
#define STADX_UNROLL _Pragma("GCC unroll 16")
