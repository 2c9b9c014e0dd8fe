// Starts the kernels of count_above: thresholds to a table of keys, scores to counts, counts to sums.
#include "cuda/count_above.cuh"

#include "cuda/score_grid.cuh"

namespace stadx::cuda {
namespace {

template <typename T>
void start_table(const void* thresholds, const KeyTable& table, Stream stream) {
  launch(MakeKeys<T>{static_cast<const T*>(thresholds), table}, {divide_up(table.size, 256)}, stream);
  launch(MakeTable<T>{table}, {divide_up((int64_t{1} << table.bucket_bits) + 1, 256)}, stream);
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

}  // namespace stadx::cuda
