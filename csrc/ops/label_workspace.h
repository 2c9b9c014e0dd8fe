// Memory for labelling one mask, and the order of the steps: strips of bands in parallel, then their borders.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "cpu/kernels.h"

namespace stadx {

// Labels one mask after the other, whose columns follow each other, in the same memory.
class LabelWorkspace {
 public:
  explicit LabelWorkspace(bool eight_connected) { image_.band_rows = eight_connected ? 2 : 1; }

  const LabelImage& image() const { return image_; }
  int64_t pixels() const { return pixels_; }    // of all regions
  int64_t regions() const { return regions_; }  // valid after label()

  void label(const MaskView& mask) {
    lay_out(mask);
    const KernelTable& table = kernels();
    const int64_t strips = count_strips(), bands = image_.bands;
    std::atomic<int64_t> pixels{0};
    torch::stable::parallel_for(0, strips, 1, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        pixels += table.label_find(image_, bands * s / strips, bands * (s + 1) / strips);
      }
    });
    for (int64_t s = 1; s < strips; ++s) table.label_join(image_, bands * s / strips);
    pixels_ = pixels;
    regions_ = table.label_number(image_);
  }

  void paint(int32_t* labels) const {
    const int64_t strips = count_strips(), bands = image_.bands;
    torch::stable::parallel_for(0, strips, 1, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        kernels().label_paint(image_, bands * s / strips, bands * (s + 1) / strips, labels);
      }
    });
  }

 private:
  void lay_out(const MaskView& mask) {
    image_.mask = mask;
    image_.bands = (mask.rows + image_.band_rows - 1) / image_.band_rows;
    image_.row_words = (mask.width + 63) / 64 + 1;
    image_.band_room = mask.width / 2 + 1 + kLabelPad;
    const int64_t words = image_.bands * image_.row_words, runs = image_.bands * image_.band_room;
    const int64_t bits = words * (image_.band_rows + 1), numbers = words + image_.bands + 3 * runs;
    if (bits > bits_room_) bits_.reset(new uint64_t[bits_room_ = bits]);
    // only what is used becomes real memory
    if (numbers > numbers_room_) numbers_.reset(new int32_t[numbers_room_ = numbers]);
    image_.bits = bits_.get();
    image_.starts = image_.bits + words * image_.band_rows;
    image_.runs_before = numbers_.get();
    image_.band_end = image_.runs_before + words;
    image_.parent = image_.band_end + image_.bands;
    image_.first = image_.parent + runs;
    image_.roots = image_.first + runs;
  }

  // Within a loop over images that already runs in parallel, parallel_for takes them one after the other.
  int64_t count_strips() const {
    constexpr int64_t kFewest = int64_t{1} << 21;  // fewer pixels do not pay for waking a thread
    const int64_t threads = torch::stable::get_num_threads(), pixels = image_.mask.rows * image_.mask.width;
    return std::clamp<int64_t>(std::min(pixels / kFewest, image_.bands), 1, threads);
  }

  LabelImage image_{};
  std::unique_ptr<uint64_t[]> bits_;
  std::unique_ptr<int32_t[]> numbers_;
  int64_t bits_room_ = 0, numbers_room_ = 0, pixels_ = 0, regions_ = 0;
};

}  // namespace stadx
