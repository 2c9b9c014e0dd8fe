// What the CUDA kernels offer to the operators: torch-free, one function per kernel or chain of kernels. All
// work is queued on the stream given; nothing waits for it.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define STADX_ANYWHERE __host__ __device__
#else
#define STADX_ANYWHERE
#endif

namespace stadx::cuda {

using Stream = void*;  // a cudaStream_t

enum class Element { float32, bfloat16, float16, float64 };

// Channels innermost. `out` is [shifts² · batch, rows, columns, channels], the shift first.
struct PhasePoolArgs {
  const void* x;
  const float* bias;
  void* out;
  int64_t batch, rows, columns, channels;          // of the result
  int64_t batch_stride, row_stride, pixel_stride;  // of x, in elements
  float slope;
};

// `shifts`: 0, 1 or 2 per axis. `wide`: pointers, strides and channels are multiples of 16 bytes.
void phase_pool(const PhasePoolArgs& args, Element element, int shifts, bool wide, Stream stream);

inline constexpr int kMaxNetworks = 64;  // teacher and students

// e and v where `error` is given; else
// map = (add ? map : 0) + weight ((e − e_mean) / e_std + (v − v_mean) / v_std).
struct ScoreOutput {
  float *error, *variance, *map;
  float e_mean, e_std, v_mean, v_std, weight;
  bool add;
};

struct ScoreInput {
  const void* maps[kMaxNetworks];  // teacher, then students
  const float* bias;               // [networks, channels], added first; or null
  const float *mean, *std_dev;     // [channels]
  int64_t channels;
  int32_t students;
  float slope;  // of the leaky ReLU after the bias; 1: none
};

// Channels innermost. Pixel (r, c) of image b lies at (r >> pools, c >> pools) of phase (r, c) mod 2^pools,
// and the batch axis counts (shift of the last pool, …, of the first, image). A shift: two bits, row and
// column.
struct PhaseScoreArgs {
  ScoreInput in;
  ScoreOutput out;
  int64_t batch, height, width;                             // of the result
  int64_t batch_stride[2], row_stride[2], pixel_stride[2];  // of the teacher, of the students
  int32_t pools;
};

// Pixels innermost: [batch, channels, pixels].
struct PlanarScoreArgs {
  ScoreInput in;
  ScoreOutput out;
  int64_t batch, pixels;
  int64_t batch_stride[2], channel_stride[2];  // of the teacher, of the students
};

// Descriptors with channels innermost, through the phase map; see the structs.
void phase_score(const PhaseScoreArgs& args, Element element, bool wide, Stream stream);
void planar_score(const PlanarScoreArgs& args, Element element, bool wide, Stream stream);

inline constexpr int kScoreSets = 64;

// Scores of some images; passed by value. `first`: number of the first image, for the counts of NaN.
struct ScoreSets {
  const void* data[kScoreSets];
  int64_t size[kScoreSets];
  int64_t first;
};

// Thresholds as keys with a table that leads to them: bucket k holds those from keys[0] + (k << shift) on,
// where the shift makes the buckets cover the whole range.
struct KeyTable {
  void* keys;      // [size], ascending
  int32_t* start;  // [buckets + 1]
  int64_t size;
  int bucket_bits;
};

// float32: sign, exponent and 3 bits of mantissa (the cut is at most an eighth too low); float64: none.
inline constexpr int kCutBits = 12, kCutBins = 1 << kCutBits;

// Exact PRO, for float32 and float64; `count` sets, at most kScoreSets.
void make_key_table(const void* thresholds, const KeyTable& table, Element element, Stream stream);
void count_scores(const ScoreSets& sets, int64_t count, const KeyTable& table, int64_t* between,
                  int64_t* equal, int64_t* nans, Element element, Stream stream);
int64_t sum_chunks(int64_t size);  // how many entries `chunks` needs below
void sum_from_above(int64_t* between, const int64_t* equal, int64_t size, int64_t* chunks, Stream stream);
void count_bins(const ScoreSets& sets, int64_t count, int64_t* bins, Element element, Stream stream);
void choose_cut(const int64_t* bins, int64_t wanted, void* cut, Element element, Stream stream);
void sum_regions(const int64_t* values, const int32_t* at, const int32_t* region, int64_t size, int64_t* sums,
                 Stream stream);

inline constexpr int kLabelImages = 32;  // of one launch
inline constexpr int kChunkWords = 1024;

// One image. The workspaces hold all images' words, cells and chunks of words one after the other.
struct GpuLabelImage {
  const void* mask;    // integers of element_size bytes, columns next to each other
  const void* map;     // scores, only for the defect pixels
  int64_t row_stride;  // of the mask, in elements
  int64_t map_stride;
  int64_t word_at, cell_at, chunk_at;  // where the image begins in the workspaces
  int64_t first_pixel, first_region;   // where its results begin
  int32_t rows, columns, element_size;
  int32_t number;  // in the set

  STADX_ANYWHERE int32_t row_words() const { return columns / 32 + (columns % 32 != 0); }
  STADX_ANYWHERE int32_t words() const { return rows * row_words(); }
};

// Passed by value, in the kernel's arguments.
struct LabelTable {
  GpuLabelImage images[kLabelImages];
};

// Workspaces. A cell is a pixel, or for 8-connectivity 2 x 2 pixels, which are one region anyway. Those for
// the defect pixels only are null for labels.
struct LabelWork {
  uint32_t* bits;          // [words] of the mask: rows of whole words, the first column lowest
  uint32_t* roots;         // [words]: the first pixels of the regions
  int32_t* parent;         // [cells]: by the cell's number in its image; undefined outside
  int32_t* first;          // [cells]: first pixel of the cell's subtree; in the end a root's label
  int32_t* area;           // [cells]: pixels of the cell's subtree; for the defect pixels
  int32_t* roots_before;   // [words]: roots in the words of the chunk before
  int32_t* pixels_before;  // [words]: for the defect pixels
  int32_t* chunk_roots;    // [chunks]: roots, later roots of the image in chunks before
  int32_t* chunk_pixels;   // [chunks]: for the defect pixels
  int64_t* regions;        // [images of the set]
  int64_t* pixels;         // [images of the set]: for the defect pixels
};

// Connected regions of `count` masks, at most kLabelImages. find_regions leaves the forest
// and the totals of every image; paint_labels or gather_pixels takes it from there, once.
void find_regions(const LabelTable& table, int64_t count, const LabelWork& work, int64_t connectivity,
                  Stream stream);
void paint_labels(const LabelTable& table, int64_t count, const LabelWork& work, int64_t connectivity,
                  int32_t* labels, Stream stream);
// Scores are copied as they are, 4 or 8 bytes each.
void gather_pixels(const LabelTable& table, int64_t count, const LabelWork& work, int64_t connectivity,
                   void* scores, int64_t score_size, int32_t* regions, int64_t* areas, int64_t* firsts,
                   Stream stream);

}  // namespace stadx::cuda
