// The module stadx._C. Loading it registers the operators torch.ops.stadx.*; its functions say what was built
// and choose the instruction set.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "ops/kept_memory.h"

namespace py = pybind11;

namespace {

py::dict build_info() {
  std::vector<std::string> architectures;
  std::istringstream list(STADX_CUDA_ARCHITECTURES);
  for (std::string item; std::getline(list, item, ',');) architectures.push_back(item);

  py::dict info;
  info["version"] = STADX_VERSION;
  info["instruction_set"] = stadx::instruction_set();
  info["instruction_sets"] = stadx::available_instruction_sets();
  info["cuda_architectures"] = architectures;
  info["compiler"] = STADX_COMPILER;
  info["torch_built_with"] = STADX_TORCH_BUILD_VERSION;
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native operators of stadx";
  m.def("build_info", &build_info);
  m.def("weight_width", &stadx::weight_width);
  m.def("set_instruction_set", &stadx::set_instruction_set, py::arg("name"));
  m.def("release_kept_memory", &stadx::release_kept_memory);

  const char* wanted = std::getenv("STADX_ISA");
  if (wanted != nullptr && *wanted != '\0') {
    try {
      stadx::set_instruction_set(wanted);
    } catch (const std::invalid_argument& error) {
      throw py::import_error(std::string("environment variable STADX_ISA: ") + error.what());
    }
  }
}
