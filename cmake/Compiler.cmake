# Enables C++, or says what to install. CMake's own words for this name variables, not packages.

set(STADX_COMPILER_HELP
    "Install GCC 11 or later (Debian, Ubuntu: apt-get install g++; Fedora, RHEL: dnf install gcc-c++) or Clang 14 or \
later, or name one: CXX=g++-12 pip install … Ready-made wheels need no compiler: docs/guide/install.md.")

include(CheckLanguage)
check_language(CXX) # honours CXX and CMAKE_CXX_COMPILER
if(NOT CMAKE_CXX_COMPILER)
  set(tried "")
  if(DEFINED ENV{CXX})
    set(tried " (CXX is '$ENV{CXX}')")
  endif()
  message(FATAL_ERROR "stadx: no working C++ compiler was found${tried}. ${STADX_COMPILER_HELP}")
endif()
enable_language(CXX)

if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  message(FATAL_ERROR "stadx needs GCC or Clang (its kernels use their vector types), not "
                      "${CMAKE_CXX_COMPILER_ID}, ${CMAKE_CXX_COMPILER}. ${STADX_COMPILER_HELP}")
endif()
# A trial, not a version: Clang brings no library of its own, and takes that of the GCC which it finds.
set(STADX_CXX20_FLAG "${CMAKE_CXX20_STANDARD_COMPILE_OPTION}")
if(STADX_CXX20_FLAG)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_FLAGS "${STADX_CXX20_FLAG}")
  check_cxx_source_compiles(
    "#include <bit>
#include <concepts>
template <std::integral T> struct Word { T bits; };
typedef float Four __attribute__((vector_size(16)));
typedef int FourWords __attribute__((vector_size(16)));
int main() { return static_cast<int>(std::bit_cast<unsigned>(0.0f)) + Word<int>{0}.bits +
                    __builtin_convertvector(Four{}, FourWords)[0]; }"
    STADX_CXX20)
  unset(CMAKE_REQUIRED_FLAGS)
endif()
if(NOT STADX_CXX20)
  message(FATAL_ERROR "stadx: ${CMAKE_CXX_COMPILER} (${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}) does not "
                      "compile C++20. ${STADX_COMPILER_HELP}")
endif()
