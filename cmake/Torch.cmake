# Finds the torch of the building Python and defines the target stadx::torch.
# find_package(Torch) is avoided: with a CUDA torch it demands a whole CUDA toolkit, even for a CPU build.

execute_process(
  COMMAND
    "${Python_EXECUTABLE}" -c
    "from importlib import metadata, util
spec = util.find_spec('torch')
print(spec.submodule_search_locations[0] if spec else '', end=';')
print(metadata.version('torch') if spec else '', end='')"
  OUTPUT_VARIABLE STADX_TORCH_INFO
  RESULT_VARIABLE STADX_TORCH_RESULT)

list(GET STADX_TORCH_INFO 0 STADX_TORCH_DIR)
if(NOT STADX_TORCH_RESULT EQUAL 0 OR NOT STADX_TORCH_DIR)
  message(FATAL_ERROR "torch is not installed for ${Python_EXECUTABLE}: pip install 'torch>=2.13', "
                      "or build with pip's isolation, which installs it.")
endif()
list(GET STADX_TORCH_INFO 1 STADX_TORCH_VERSION)
if(NOT EXISTS "${STADX_TORCH_DIR}/include/torch/csrc/stable/ops.h")
  message(FATAL_ERROR "torch ${STADX_TORCH_VERSION} has no LibTorch stable ABI headers; torch >= 2.13 is needed.")
endif()
message(STATUS "stadx: torch ${STADX_TORCH_VERSION} in ${STADX_TORCH_DIR}")

add_library(stadx_torch INTERFACE)
add_library(stadx::torch ALIAS stadx_torch)
target_include_directories(stadx_torch SYSTEM INTERFACE "${STADX_TORCH_DIR}/include")
# Only what 2.13 has may be used, however new the torch of the build is: the result loads in 2.13 and later.
target_compile_definitions(stadx_torch INTERFACE TORCH_TARGET_VERSION=0x020d000000000000)
# Everything of the stable interface, for any device, lives in this one library.
find_library(STADX_TORCH_CPU torch_cpu PATHS "${STADX_TORCH_DIR}/lib" NO_DEFAULT_PATH REQUIRED NO_CACHE)
target_link_libraries(stadx_torch INTERFACE "${STADX_TORCH_CPU}")
