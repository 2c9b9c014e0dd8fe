// The choice of the instruction set that the CPU kernels use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stadx {

// Names of the instruction sets that are compiled in and that this CPU runs, weakest first.
std::vector<std::string> available_instruction_sets();

// Name of the one in use: at load the strongest available.
std::string instruction_set();

// Width of packed weights for the one in use; see KernelTable.
int64_t weight_width();

// Uses another one from the next operator call on. Throws std::invalid_argument naming the available ones.
void set_instruction_set(const std::string& name);

}  // namespace stadx
