// A GPU's memory for labelling a set of masks, and what the kernels are told of each image.
#pragma once

#include <vector>

#include "ops/gpu.h"

namespace stadx {

// Workspaces for images that lie one after the other.
class GpuLabelWorkspace {
 public:
  explicit GpuLabelWorkspace(int64_t connectivity) : side_(connectivity == 8 ? 2 : 1) {}

  // Says where the image begins.
  void add(cuda::GpuLabelImage& image) {
    image.word_at = words_;
    image.cell_at = cells_;
    image.chunk_at = chunks_;
    const int64_t words = image.rows * ((int64_t{image.columns} + 31) / 32);
    words_ += words;
    cells_ += ((int64_t{image.rows} + side_ - 1) / side_) * ((int64_t{image.columns} + side_ - 1) / side_);
    chunks_ += (words + cuda::kChunkWords - 1) / cuda::kChunkWords;
  }

  // Also for the ranks and the areas of defect pixels if `pixels`. Lives as long as this object; a GPU's
  // memory may be given back while kernels are queued, for it is used again in the stream's order.
  cuda::LabelWork allocate(const torch::stable::Tensor& like, bool pixels) {
    const int64_t per_word = pixels ? 4 : 3, per_cell = pixels ? 3 : 2, per_chunk = pixels ? 2 : 1;
    memory_.push_back(torch::stable::new_empty(like,
                                               {words_ * per_word + cells_ * per_cell + chunks_ * per_chunk},
                                               torch::headeronly::ScalarType::Int));
    int32_t* next = memory_.back().mutable_data_ptr<int32_t>();
    const auto take = [&](int64_t size) {
      int32_t* begin = next;
      next += size;
      return begin;
    };
    cuda::LabelWork work{};
    work.bits = reinterpret_cast<uint32_t*>(take(words_));
    work.roots = reinterpret_cast<uint32_t*>(take(words_));
    work.roots_before = take(words_);
    work.parent = take(cells_);
    work.first = take(cells_);
    work.chunk_roots = take(chunks_);
    if (pixels) {
      work.pixels_before = take(words_);
      work.area = take(cells_);
      work.chunk_pixels = take(chunks_);
    }
    return work;
  }

 private:
  int64_t side_, words_ = 0, cells_ = 0, chunks_ = 0;
  std::vector<torch::stable::Tensor> memory_;
};

inline cuda::GpuLabelImage image_of(const void* mask, int64_t rows, int64_t columns, int64_t row_stride,
                                    int64_t element_size, int64_t number) {
  cuda::GpuLabelImage image{};
  image.mask = mask;
  image.row_stride = row_stride;
  image.rows = static_cast<int32_t>(rows);
  image.columns = static_cast<int32_t>(columns);
  image.element_size = static_cast<int32_t>(element_size);
  image.number = static_cast<int32_t>(number);
  return image;
}

}  // namespace stadx
