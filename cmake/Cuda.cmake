# STADX_CUDA=OFF|ON|AUTO: looks for nvcc and says what comes of it. This version has no CUDA sources.

set(STADX_CUDA AUTO CACHE STRING "Build the CUDA backend: OFF, ON or AUTO (where nvcc is found)")
set_property(CACHE STADX_CUDA PROPERTY STRINGS OFF ON AUTO)
string(TOUPPER "${STADX_CUDA}" STADX_CUDA_MODE)
if(NOT STADX_CUDA_MODE MATCHES "^(OFF|ON|AUTO)$")
  message(FATAL_ERROR "STADX_CUDA is '${STADX_CUDA}'; it must be OFF, ON or AUTO.")
endif()

file(GLOB STADX_CUDA_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/csrc/cuda/*.cu")
set(STADX_CUDA_ARCHITECTURES "") # what the module reports; stays empty without CUDA kernels

if(STADX_CUDA_MODE STREQUAL "OFF")
  message(STATUS "stadx: CUDA off")
else()
  include(CheckLanguage)
  check_language(CUDA) # honours CUDACXX and CMAKE_CUDA_COMPILER
  if(NOT CMAKE_CUDA_COMPILER)
    if(STADX_CUDA_MODE STREQUAL "ON")
      message(FATAL_ERROR "STADX_CUDA=ON, but no working nvcc was found. Install the CUDA toolkit, set CUDACXX to "
                          "the nvcc binary (not a wrapper script), or build with STADX_CUDA=OFF.")
    endif()
    message(STATUS "stadx: no nvcc found, CPU only")
  elseif(NOT STADX_CUDA_SOURCES)
    if(STADX_CUDA_MODE STREQUAL "ON")
      message(FATAL_ERROR "STADX_CUDA=ON and nvcc was found (${CMAKE_CUDA_COMPILER}), but this version of stadx has "
                          "no CUDA kernels. Build with STADX_CUDA=AUTO or OFF; tensors on a GPU are served by "
                          "plain PyTorch.")
    endif()
    message(STATUS "stadx: nvcc found (${CMAKE_CUDA_COMPILER}); no CUDA sources in this version, CPU only")
  endif()
endif()
