// How an operator of the CPU is declared.
#pragma once

#include <torch/csrc/stable/library.h>

// The operator stadx::NAME with its arguments and returns, whose CPU backend is the function NAME_cpu.
#define STADX_CPU_OPERATOR(name, arguments)                           \
  STABLE_TORCH_LIBRARY_FRAGMENT(stadx, m) { m.def(#name arguments); } \
  STABLE_TORCH_LIBRARY_IMPL(stadx, CPU, m) { m.impl(#name, TORCH_BOX(&name##_cpu)); }
