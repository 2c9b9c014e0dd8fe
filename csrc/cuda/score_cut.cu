// Starts the kernels of score_cut: a histogram, and the choice of a bin.
#include "cuda/score_cut.cuh"

#include "cuda/score_grid.cuh"

namespace stadx::cuda {
namespace {

template <typename T>
void start_cut(const int64_t* bins, int64_t wanted, void* cut, Stream stream) {
  launch(ChooseCut<T>{bins, wanted, static_cast<T*>(cut)}, {1}, stream);
}

}  // namespace

void count_bins(const ScoreSets& sets, int64_t count, int64_t* bins, Element element, Stream stream) {
  if (element == Element::float32) {
    launch(CountBins<float>{sets, bins}, grid_over<CountBins<float>>(sets, count), stream);
  } else {
    launch(CountBins<double>{sets, bins}, grid_over<CountBins<double>>(sets, count), stream);
  }
}

void choose_cut(const int64_t* bins, int64_t wanted, void* cut, Element element, Stream stream) {
  element == Element::float32 ? start_cut<float>(bins, wanted, cut, stream)
                              : start_cut<double>(bins, wanted, cut, stream);
}

}  // namespace stadx::cuda
