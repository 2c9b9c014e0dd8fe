// How the tests choose the order of threads, and take a barrier away.
#include <algorithm>

#include "simt.h"

extern "C" {

__attribute__((visibility("default"))) void simt_configure(int order, uint64_t seed, int removed_barrier) {
  simt::settings.order = static_cast<simt::Order>(order);
  simt::settings.seed = seed;
  simt::settings.removed_barrier = removed_barrier;
}

// Lines of the barriers that were reached since the last call; returns how many there are.
__attribute__((visibility("default"))) int simt_barriers(int* lines, int room) {
  int count = 0;
  for (const int line : simt::settings.barriers) {
    if (count < room) lines[count] = line;
    ++count;
  }
  simt::settings.barriers.clear();
  return count;
}
}
