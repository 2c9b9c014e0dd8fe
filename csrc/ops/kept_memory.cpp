#include "ops/kept_memory.h"

#include <atomic>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace stadx {

#if defined(__linux__) && defined(MADV_FREE) && defined(MADV_HUGEPAGE)
namespace {

constexpr int64_t kPage = int64_t{1} << 21;  // a large one

// One exchange takes or leaves a block: no lock, which a fork could find held.
std::atomic<KeptBlock*> kept{nullptr};

void unmap(KeptBlock* block) {
  if (block == nullptr) return;
  munmap(block->memory, static_cast<size_t>(block->bytes));
  delete block;
}

KeptBlock* map_block(int64_t bytes) {
  bytes = (bytes + kPage - 1) / kPage * kPage;
  const size_t room = static_cast<size_t>(bytes + kPage);
  void* memory = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(memory);
  const int64_t before = -reinterpret_cast<intptr_t>(begin) & (kPage - 1);  // to the first large page
  if (before > 0) munmap(begin, static_cast<size_t>(before));
  munmap(begin + before + bytes, static_cast<size_t>(kPage - before));
  madvise(begin + before, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return new KeptBlock{begin + before, bytes};
}

}  // namespace

KeptBlock* take_block(int64_t bytes) {
  if (bytes < kLeastKept || bytes > kMostKept) return nullptr;
  KeptBlock* const block = kept.exchange(nullptr);
  if (block != nullptr && bytes <= block->bytes && block->bytes <= 2 * bytes) return block;
  unmap(block);
  return map_block(bytes);
}

void give_back(KeptBlock* block) {
  // Pages that are written again before the system needs them are still there, without a fault.
  if (madvise(block->memory, static_cast<size_t>(block->bytes), MADV_FREE) == 0) block = kept.exchange(block);
  unmap(block);
}

int64_t release_kept_memory() {
  KeptBlock* const block = kept.exchange(nullptr);
  const int64_t bytes = block == nullptr ? 0 : block->bytes;
  unmap(block);
  return bytes;
}
#else
KeptBlock* take_block(int64_t) { return nullptr; }

void give_back(KeptBlock*) {}

int64_t release_kept_memory() { return 0; }
#endif

}  // namespace stadx
