# stadx_add_cpu_kernels(<out> <sources...>): compiles the torch-free kernels once per CPU instruction set, each in
# its own namespace, and lists the resulting object files in <out>. One copy is chosen at load (csrc/cpu/dispatch.cpp).

include(CheckCXXSourceCompiles)
check_cxx_source_compiles(
  "#if !defined(__x86_64__)\n#error not x86-64\n#endif\nint main() { return __builtin_cpu_supports(\"avx2\"); }"
  STADX_X86_64)

set(STADX_INSTRUCTION_SETS baseline)
if(STADX_X86_64)
  list(APPEND STADX_INSTRUCTION_SETS avx2 avx512)
endif()
set(STADX_FLAGS_baseline "")
set(STADX_FLAGS_avx2 -mavx2 -mfma)
set(STADX_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma)

function(stadx_add_cpu_kernels out)
  set(objects "")
  foreach(set ${STADX_INSTRUCTION_SETS})
    add_library(stadx_kernels_${set} OBJECT ${ARGN})
    target_link_libraries(stadx_kernels_${set} PRIVATE stadx_options)
    target_compile_definitions(stadx_kernels_${set} PRIVATE STADX_ISA=${set})
    target_compile_options(stadx_kernels_${set} PRIVATE -O3 -fno-math-errno -ffp-contract=fast ${STADX_FLAGS_${set}})
    list(APPEND objects "$<TARGET_OBJECTS:stadx_kernels_${set}>")

    # A weak symbol would let the linker give every machine the AVX-512 copy of a shared inline function.
    add_custom_command(
      OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/no_weak_symbols_${set}.stamp"
      COMMAND ${CMAKE_COMMAND} "-DNM=${CMAKE_NM}" "-DOBJECTS=$<JOIN:$<TARGET_OBJECTS:stadx_kernels_${set}>,|>"
              "-DSTAMP=${CMAKE_CURRENT_BINARY_DIR}/no_weak_symbols_${set}.stamp" -P
              "${CMAKE_CURRENT_SOURCE_DIR}/cmake/CheckNoWeakSymbols.cmake"
      DEPENDS stadx_kernels_${set} "$<TARGET_OBJECTS:stadx_kernels_${set}>"
      COMMENT "Checking that the ${set} kernels share no inline function"
      VERBATIM)
    list(APPEND stamps "${CMAKE_CURRENT_BINARY_DIR}/no_weak_symbols_${set}.stamp")
  endforeach()
  add_custom_target(stadx_check_kernels ALL DEPENDS ${stamps})
  set(${out} "${objects}" PARENT_SCOPE)
endfunction()
