// Memory of a large output, of which the last freed is kept for the next. What malloc has to map anew with
// every call costs a fault for each of its pages, and in a virtual machine the host may first have to find
// them too.
#pragma once

#include <cstdint>

namespace stadx {

// glibc's malloc maps anew what is as large as this; what is smaller it reuses itself.
inline constexpr int64_t kLeastKept = int64_t{1} << 25;
inline constexpr int64_t kMostKept = int64_t{1} << 27;  // more is never held when nobody uses it

// A mapping of its own, on large pages where the system has them.
struct KeptBlock {
  void* memory;
  int64_t bytes;  // at least those asked for
};

// The kept block if it is of about this size, else a new one, of any content; null where the system has none,
// or for other sizes than kLeastKept to kMostKept. Nobody else has it until it is given back, by any thread.
KeptBlock* take_block(int64_t bytes);

// Keeps the block in the place of the one that was kept. The system may take its pages until it is used
// again.
void give_back(KeptBlock* block);

// Gives what is kept to the system; returns how many bytes.
int64_t release_kept_memory();

}  // namespace stadx
