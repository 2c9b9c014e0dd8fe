// Starts the kernel of phase_pool, by dtype, width of access and number of shifts.
#include "cuda/phase_pool.cuh"

#include <algorithm>

#include "cuda/launch.cuh"
#include "cuda/launchers.h"

namespace stadx::cuda {
namespace {

template <typename T, bool kWide, int kShifts>
void start(const PhasePoolArgs& args, Stream stream) {
  using Kernel = PhasePool<T, kWide, kShifts>;
  const int64_t threads = args.columns * (args.channels / Kernel::C::kSize);
  const int64_t strips = args.batch * divide_up(args.rows, kPoolStrip);
  launch(Kernel{args}, {divide_up(threads, Kernel::kThreads), std::min(strips, kMaxGridY)}, stream);
}

template <typename T, bool kWide>
void start(const PhasePoolArgs& args, int shifts, Stream stream) {
  if (shifts == 0) start<T, kWide, 0>(args, stream);
  if (shifts == 1) start<T, kWide, 1>(args, stream);
  if (shifts == 2) start<T, kWide, 2>(args, stream);
}

template <typename T>
void start(const PhasePoolArgs& args, int shifts, bool wide, Stream stream) {
  wide ? start<T, true>(args, shifts, stream) : start<T, false>(args, shifts, stream);
}

}  // namespace

void phase_pool(const PhasePoolArgs& args, Element element, int shifts, bool wide, Stream stream) {
  if (element == Element::float32) start<float>(args, shifts, wide, stream);
  if (element == Element::bfloat16) start<BFloat16>(args, shifts, wide, stream);
  if (element == Element::float16) start<Float16>(args, shifts, wide, stream);
}

}  // namespace stadx::cuda
