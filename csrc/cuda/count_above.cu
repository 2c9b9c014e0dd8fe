#include "cuda/count_above.cuh"

#include <algorithm>

#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/score_cut.cuh"

namespace stadx::cuda {
namespace {

constexpr int64_t kMaxBlocks = 1024;  // of one image: several for every multiprocessor there is

template <typename Kernel>
Grid grid_over(const ScoreSets& sets, int64_t count) {
  int64_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, sets.size[i]);
  const int64_t chunks = divide_up(most, int64_t{Kernel::kThreads} * Kernel::kEach);
  return {std::min(chunks, std::max(kMaxBlocks / count, int64_t{1})), count};
}

template <typename T>
void start_table(const void* thresholds, const KeyTable& table, Stream stream) {
  launch(MakeKeys<T>{static_cast<const T*>(thresholds), table}, {divide_up(table.size, 256)}, stream);
  launch(MakeTable<T>{table}, {divide_up((int64_t{1} << table.bucket_bits) + 1, 256)}, stream);
}

template <typename T>
void start_cut(const int64_t* bins, int64_t wanted, void* cut, Stream stream) {
  launch(ChooseCut<T>{bins, wanted, static_cast<T*>(cut)}, {1}, stream);
}

}  // namespace

void make_key_table(const void* thresholds, const KeyTable& table, Element element, Stream stream) {
  element == Element::float32 ? start_table<float>(thresholds, table, stream)
                              : start_table<double>(thresholds, table, stream);
}

void count_scores(const ScoreSets& sets, int64_t count, const KeyTable& table, int64_t* between,
                  int64_t* equal, int64_t* nans, Element element, Stream stream) {
  if (element == Element::float32) {
    launch(CountScores<float>{sets, table, between, equal, nans}, grid_over<CountScores<float>>(sets, count),
           stream);
  } else {
    launch(CountScores<double>{sets, table, between, equal, nans},
           grid_over<CountScores<double>>(sets, count), stream);
  }
}

int64_t sum_chunks(int64_t size) { return divide_up(size, kSumChunk); }

void sum_from_above(int64_t* between, const int64_t* equal, int64_t size, int64_t* chunks, Stream stream) {
  const int64_t count = sum_chunks(size);
  launch(SumChunks{between, equal, size, chunks}, {count}, stream);
  launch(SumAfter{chunks, count}, {1}, stream);
  launch(SumWithin{between, equal, chunks, size}, {count}, stream);
}

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

void sum_regions(const int64_t* values, const int32_t* at, const int32_t* region, int64_t size, int64_t* sums,
                 Stream stream) {
  launch(SumRegions{values, at, region, size, sums}, {std::min(divide_up(size, 256), kMaxBlocks)}, stream);
}

}  // namespace stadx::cuda
