// Winograd's minimal filtering in one dimension (Cook and Toom's algorithm): points and transforms.
//
// With n points a_k, the last one infinity, the m outputs y_i = Σ_j d_{i+j} g_j of r = n − m + 1 weights are
// y = Aᵀ (G g ∘ Bᵀ d). Rows of Bᵀ are the coefficients of Π_{j≠k}(x − a_j), of G: a_k^j / Π_{j≠k}(a_k − a_j),
// of Aᵀ: a_k^i. In two dimensions: the same along rows and columns.
//
// n = 8:  0, ±1/2, ±1, ±2, ∞.
// n = 10: 0, ±5/12, ±4/5, ±5/4, ±12/5, ∞, next to the minimum of Σ_k (Aᵀ_ik |Bᵀ_k| |G_k|)², which is how
// rounding errors of white data and weights grow: 9.7 in one dimension (8 points: 4.4; 0, ±1/2, ±1, ±2, ±4:
// 30).
#pragma once

#include "cpu/compiler.h"

// Internal linkage: each instruction set's copy of the kernels needs its own.
namespace stadx {
namespace {

// The positive points. All points in the order of the transforms: 0, then a and −a for each, then ∞.
template <int N>
struct WinogradPoints;

template <>
struct WinogradPoints<8> {
  static constexpr double positive[3] = {0.5, 1.0, 2.0};
};

template <>
struct WinogradPoints<10> {
  static constexpr double positive[4] = {5.0 / 12.0, 4.0 / 5.0, 5.0 / 4.0, 12.0 / 5.0};
};

// Entry (k, j) of G, for r weights.
template <int N>
constexpr double winograd_weight(int k, int j, int r) {
  if (k == N - 1) return j == r - 1 ? 1.0 : 0.0;
  double points[N - 1] = {};
  for (int i = 1; i < N - 1; ++i)
    points[i] = WinogradPoints<N>::positive[(i - 1) / 2] * (i % 2 == 1 ? 1.0 : -1.0);
  double entry = 1.0;
  for (int i = 0; i < N - 1; ++i) {
    if (i != k) entry /= points[k] - points[i];
  }
  for (int i = 0; i < j; ++i) entry *= points[k];
  return entry;
}

// G, as floats.
template <int N, int R>
struct WinogradWeightMatrix {
  float of[N][R] = {};

  constexpr WinogradWeightMatrix() {
    for (int k = 0; k < N; ++k) {
      for (int j = 0; j < R; ++j) of[k][j] = static_cast<float>(winograd_weight<N>(k, j, R));
    }
  }
};

// Coefficients of the polynomials in x² that make up Bᵀ, lowest power first: the product of (x² − a²) over
// all positive points, and over all but one.
template <int N>
struct WinogradProducts {
  static constexpr int kPairs = (N - 2) / 2;
  float all[kPairs + 1] = {}, without[kPairs][kPairs] = {};

  constexpr WinogradProducts() {
    for (int left_out = 0; left_out <= kPairs; ++left_out) {  // kPairs: none
      double product[kPairs + 1] = {1.0};
      int degree = 0;
      for (int k = 0; k < kPairs; ++k) {
        if (k == left_out) continue;
        const double square = WinogradPoints<N>::positive[k] * WinogradPoints<N>::positive[k];
        ++degree;
        for (int i = degree; i >= 0; --i) product[i] = (i > 0 ? product[i - 1] : 0.0) - square * product[i];
      }
      for (int i = 0; i <= degree; ++i) {
        (left_out == kPairs ? all[i] : without[left_out][i]) = static_cast<float>(product[i]);
      }
    }
  }
};

// a_k^i, the entries of Aᵀ.
template <int N>
struct WinogradPowers {
  static constexpr int kPairs = (N - 2) / 2;
  float of[kPairs][N] = {};

  constexpr WinogradPowers() {
    for (int k = 0; k < kPairs; ++k) {
      double power = 1.0;
      for (int i = 0; i < N; ++i, power *= WinogradPoints<N>::positive[k])
        of[k][i] = static_cast<float>(power);
    }
  }
};

// out = Bᵀ d, both of N elements.
template <int N, typename V>
STADX_ALWAYS_INLINE void winograd_input(const V* d, V* out) {
  constexpr int kPairs = (N - 2) / 2;
  constexpr WinogradProducts<N> product;
  out[0] = d[2 * kPairs];  // the coefficient of the highest power is 1
  out[N - 1] = d[2 * kPairs + 1];
  STADX_UNROLL
  for (int i = 0; i < kPairs; ++i) {
    out[0] += product.all[i] * d[2 * i];
    out[N - 1] += product.all[i] * d[2 * i + 1];
  }
  STADX_UNROLL
  for (int k = 0; k < kPairs; ++k) {  // x (x ± a) times the product without a: even and odd powers apart
    const float a = static_cast<float>(WinogradPoints<N>::positive[k]);
    V even = d[2 * kPairs], odd = d[2 * kPairs - 1];
    STADX_UNROLL
    for (int i = 0; i < kPairs - 1; ++i) {
      even += product.without[k][i] * d[2 * i + 2];
      odd += product.without[k][i] * d[2 * i + 1];
    }
    out[1 + 2 * k] = even + a * odd;
    out[2 + 2 * k] = even - a * odd;
  }
}

// y = Aᵀ v: M outputs of N products.
template <int N, int M, typename V>
STADX_ALWAYS_INLINE void winograd_output(const V* v, V* y) {
  constexpr int kPairs = (N - 2) / 2;
  constexpr WinogradPowers<N> power;
  V sum[kPairs], difference[kPairs];
  STADX_UNROLL
  for (int k = 0; k < kPairs; ++k) {
    sum[k] = v[1 + 2 * k] + v[2 + 2 * k];
    difference[k] = v[1 + 2 * k] - v[2 + 2 * k];
  }
  STADX_UNROLL
  for (int i = 0; i < M; ++i) {
    const V* part = i % 2 == 0 ? sum : difference;
    y[i] = power.of[0][i] * part[0];
    STADX_UNROLL
    for (int k = 1; k < kPairs; ++k) y[i] += power.of[k][i] * part[k];
  }
  y[0] += v[0];
  y[M - 1] += v[N - 1];
}

// The transpose of winograd_input: out = B v, both of N elements.
template <int N, typename V>
STADX_ALWAYS_INLINE void winograd_input_transposed(const V* v, V* out) {
  constexpr int kPairs = (N - 2) / 2;
  constexpr WinogradProducts<N> product;
  STADX_UNROLL
  for (int i = 0; i < kPairs; ++i) {
    out[2 * i] = product.all[i] * v[0];
    out[2 * i + 1] = product.all[i] * v[N - 1];
  }
  out[2 * kPairs] = v[0];
  out[2 * kPairs + 1] = v[N - 1];
  STADX_UNROLL
  for (int k = 0; k < kPairs; ++k) {
    const float a = static_cast<float>(WinogradPoints<N>::positive[k]);
    const V even = v[1 + 2 * k] + v[2 + 2 * k], odd = a * (v[1 + 2 * k] - v[2 + 2 * k]);
    out[2 * kPairs] += even;
    out[2 * kPairs - 1] += odd;
    STADX_UNROLL
    for (int i = 0; i < kPairs - 1; ++i) {
      out[2 * i + 2] += product.without[k][i] * even;
      out[2 * i + 1] += product.without[k][i] * odd;
    }
  }
}

// The transpose of winograd_output: v = A y, from M elements to N.
template <int N, int M, typename V>
STADX_ALWAYS_INLINE void winograd_output_transposed(const V* y, V* v) {
  constexpr int kPairs = (N - 2) / 2;
  constexpr WinogradPowers<N> power;
  v[0] = y[0];
  v[N - 1] = y[M - 1];
  STADX_UNROLL
  for (int k = 0; k < kPairs; ++k) {
    V even = y[0], odd = power.of[k][1] * y[1];
    STADX_UNROLL
    for (int i = 2; i < M; ++i) {
      if (i % 2 == 0) {
        even += power.of[k][i] * y[i];
      } else {
        odd += power.of[k][i] * y[i];
      }
    }
    v[1 + 2 * k] = even + odd;
    v[2 + 2 * k] = even - odd;
  }
}

// out = G w, N of R elements.
template <int N, int R, typename V>
STADX_ALWAYS_INLINE void winograd_weights(const V* w, V* out) {
  constexpr WinogradWeightMatrix<N, R> g;
  STADX_UNROLL
  for (int k = 0; k < N; ++k) {
    out[k] = g.of[k][0] * w[0];
    STADX_UNROLL
    for (int j = 1; j < R; ++j) out[k] += g.of[k][j] * w[j];
  }
}

// Its transpose: out = Gᵀ v, R of N elements.
template <int N, int R, typename V>
STADX_ALWAYS_INLINE void winograd_weights_transposed(const V* v, V* out) {
  constexpr WinogradWeightMatrix<N, R> g;
  STADX_UNROLL
  for (int j = 0; j < R; ++j) {
    out[j] = g.of[0][j] * v[0];
    STADX_UNROLL
    for (int k = 1; k < N; ++k) out[j] += g.of[k][j] * v[k];
  }
}

}  // namespace
}  // namespace stadx
