// Starts the kernels of ensemble_score and phase_score, by dtype and width of access.
#include "cuda/ensemble_score.cuh"

#include "cuda/launch.cuh"
#include "cuda/launchers.h"

namespace stadx::cuda {
namespace {

template <typename T, bool kWide, int kLanes>
void start_phase(const PhaseScoreArgs& args, Stream stream) {
  using Kernel = PhaseScore<T, kWide, kLanes>;
  launch(Kernel{args}, {divide_up(args.batch * args.height * args.width, Kernel::kPixels), 1}, stream);
}

template <typename T>
void start_phase(const PhaseScoreArgs& args, bool wide, Stream stream) {
  // As many lanes as a descriptor of 128 has chunks.
  wide ? start_phase<T, true, 8 * sizeof(T)>(args, stream) : start_phase<T, false, 32>(args, stream);
}

template <typename T, bool kWide>
void start_planar(const PlanarScoreArgs& args, Stream stream) {
  using Kernel = PlanarScore<T, kWide>;
  launch(Kernel{args}, {args.batch * divide_up(args.pixels, Kernel::kPixels), 1}, stream);
}

template <typename T>
void start_planar(const PlanarScoreArgs& args, bool wide, Stream stream) {
  wide ? start_planar<T, true>(args, stream) : start_planar<T, false>(args, stream);
}

}  // namespace

void phase_score(const PhaseScoreArgs& args, Element element, bool wide, Stream stream) {
  if (element == Element::float32) start_phase<float>(args, wide, stream);
  if (element == Element::bfloat16) start_phase<BFloat16>(args, wide, stream);
  if (element == Element::float16) start_phase<Float16>(args, wide, stream);
}

void planar_score(const PlanarScoreArgs& args, Element element, bool wide, Stream stream) {
  if (element == Element::float32) start_planar<float>(args, wide, stream);
  if (element == Element::bfloat16) start_planar<BFloat16>(args, wide, stream);
  if (element == Element::float16) start_planar<Float16>(args, wide, stream);
}

}  // namespace stadx::cuda
