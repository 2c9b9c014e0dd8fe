// The vector width of the instruction set being compiled. Only kernel sources include this: they are compiled
// once per instruction set, each into its own namespace. Everything they define is in there or has internal
// linkage, and they use no templates of the standard library: an inline function shared between the copies
// could be merged into the one that needs AVX-512.
#pragma once

#ifndef STADX_ISA
#error "kernel sources are compiled by stadx_add_cpu_kernels() in cmake/InstructionSets.cmake"
#endif

#if defined(__AVX512F__)
#define STADX_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define STADX_VECTOR_BYTES 32
#else
#define STADX_VECTOR_BYTES 16
#endif
