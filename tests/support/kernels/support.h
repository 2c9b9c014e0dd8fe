// What the tests of the kernels share: random floats, and what to print.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>

namespace stadx_test {

inline std::mt19937 generator(0);
inline int failures = 0;

inline void check(const char* what, bool right, double error = 0) {
  std::printf("%-44s %s   largest error %.2g\n", what, right ? "right" : "WRONG", error);
  failures += !right;
}

// Floats that begin at a multiple of 64 bytes.
struct Floats {
  std::unique_ptr<float, decltype(&std::free)> memory;
  int64_t size;

  explicit Floats(int64_t n)
      : memory(static_cast<float*>(std::aligned_alloc(64, (n * 4 + 63) / 64 * 64)), &std::free), size(n) {
    std::fill_n(memory.get(), n, 0.0f);
  }
  Floats& draw() {
    for (int64_t i = 0; i < size; ++i) (*this)[i] = std::normal_distribution<float>()(generator);
    return *this;
  }
  float& operator[](int64_t i) const { return memory.get()[i]; }
  float* data() const { return memory.get(); }
};

void test_tiles();  // tiles.cpp

}  // namespace stadx_test
