// Which instruction sets this CPU has, and which of them the kernels use.
#include "cpu/dispatch.h"

#include <atomic>
#include <stdexcept>

#include "cpu/kernels.h"

namespace stadx {

namespace baseline {
extern const KernelTable table;
}
#if defined(STADX_X86_64)
namespace avx2 {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
#endif

namespace {

struct InstructionSet {
  const char* name;
  const KernelTable* table;
};

// Weakest first. __builtin_cpu_supports also asks whether the operating system saves the registers.
const std::vector<InstructionSet>& available() {
  static const std::vector<InstructionSet> sets = [] {
    std::vector<InstructionSet> found{{"baseline", &baseline::table}};
#if defined(STADX_X86_64)
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (has_avx2) found.push_back({"avx2", &avx2::table});
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      found.push_back({"avx512", &avx512::table});
    }
#endif
    return found;
  }();
  return sets;
}

std::atomic<const InstructionSet*>& in_use() {
  static std::atomic<const InstructionSet*> set{&available().back()};
  return set;
}

}  // namespace

const KernelTable& kernels() { return *in_use().load(std::memory_order_relaxed)->table; }

std::vector<std::string> available_instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : available()) names.emplace_back(set.name);
  return names;
}

std::string instruction_set() { return in_use().load(std::memory_order_relaxed)->name; }

int64_t weight_width() { return kernels().weight_width; }

void set_instruction_set(const std::string& name) {
  std::string names;
  for (const InstructionSet& set : available()) {
    if (name == set.name) {
      in_use().store(&set, std::memory_order_relaxed);
      return;
    }
    if (!names.empty()) names += ", ";
    names += set.name;
  }
  throw std::invalid_argument("instruction set '" + name +
                              "' is not available here; choose one of: " + names);
}

}  // namespace stadx
