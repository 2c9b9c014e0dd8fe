// Scores as unsigned integers in the same order: −∞ … −0 = +0 … +∞. On integers, so that denormals count
// whatever the processor's mode is.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define STADX_KEY_FUNCTION __host__ __device__ __forceinline__
#else
#define STADX_KEY_FUNCTION inline
#endif

namespace stadx {
namespace {

template <typename T>
struct ScoreKey;

template <>
struct ScoreKey<float> {
  using Key = uint32_t;
  static constexpr Key kSign = 0x80000000u, kInfinity = 0x7F800000u;
};

template <>
struct ScoreKey<double> {
  using Key = uint64_t;
  static constexpr Key kSign = 0x8000000000000000u, kInfinity = 0x7FF0000000000000u;
};

template <typename T>
STADX_KEY_FUNCTION typename ScoreKey<T>::Key score_bits(T score) {
  typename ScoreKey<T>::Key bits;
  __builtin_memcpy(&bits, &score, sizeof bits);
  return bits;
}

template <typename T>
STADX_KEY_FUNCTION bool is_nan_bits(typename ScoreKey<T>::Key bits) {
  return (bits & ~ScoreKey<T>::kSign) > ScoreKey<T>::kInfinity;
}

// The key of a score that is not NaN; the key of −0 is that of +0.
template <typename T>
STADX_KEY_FUNCTION typename ScoreKey<T>::Key key_of_bits(typename ScoreKey<T>::Key bits) {
  constexpr auto sign = ScoreKey<T>::kSign;
  return bits & sign ? sign - (bits - sign) : bits | sign;
}

// The score of a key that is that of a score.
template <typename T>
STADX_KEY_FUNCTION T score_of_key(typename ScoreKey<T>::Key key) {
  constexpr auto sign = ScoreKey<T>::kSign;
  const typename ScoreKey<T>::Key bits = key >= sign ? key - sign : sign - key + sign;
  T score;
  __builtin_memcpy(&score, &bits, sizeof score);
  return score;
}

}  // namespace
}  // namespace stadx
