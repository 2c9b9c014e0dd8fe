// stadx::label_regions and defect_pixels on a GPU: checks, allocation, launch.
#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "ops/gpu.h"
#include "ops/label_checks.h"

namespace stadx {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Workspaces for images that lie one after the other.
class Workspace {
 public:
  explicit Workspace(int64_t connectivity) : side_(connectivity == 8 ? 2 : 1) {}

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
  cuda::LabelWork allocate(const Tensor& like, bool pixels) {
    const int64_t per_word = pixels ? 4 : 3, per_cell = pixels ? 3 : 2, per_chunk = pixels ? 2 : 1;
    memory_.push_back(torch::stable::new_empty(
        like, {words_ * per_word + cells_ * per_cell + chunks_ * per_chunk}, ScalarType::Int));
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
  std::vector<Tensor> memory_;
};

cuda::GpuLabelImage image_of(const void* mask, int64_t rows, int64_t columns, int64_t row_stride,
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

std::tuple<Tensor, Tensor> label_regions_cuda(const Tensor mask, int64_t connectivity) {
  check_label_regions(mask, connectivity);
  const int64_t batch = mask.size(0), height = mask.size(1), width = mask.size(2);
  const GpuScope scope(mask);
  Tensor labels = torch::stable::new_empty(mask, {batch, height, width}, ScalarType::Int);
  if (labels.numel() == 0) return {labels, torch::stable::new_zeros(mask, {batch}, ScalarType::Long)};
  Tensor counts = torch::stable::new_empty(mask, {batch}, ScalarType::Long);

  const Tensor input = mask.stride(2) == 1 ? mask : torch::stable::contiguous(mask);
  const auto* data = static_cast<const char*>(input.const_data_ptr());
  const int64_t element_size = static_cast<int64_t>(input.element_size());
  // Images that share the memory of those before them, which are done by then.
  const int64_t together = std::min<int64_t>(batch, cuda::kLabelImages);
  Workspace workspace(connectivity);
  cuda::LabelTable table{};
  for (int64_t i = 0; i < together; ++i) {
    table.images[i] = image_of(nullptr, height, width, input.stride(1), element_size, 0);
    workspace.add(table.images[i]);
  }
  cuda::LabelWork work = workspace.allocate(mask, false);
  work.regions = counts.mutable_data_ptr<int64_t>();
  for (int64_t begin = 0; begin < batch; begin += together) {
    const int64_t count = std::min(together, batch - begin);
    for (int64_t i = 0; i < count; ++i) {
      cuda::GpuLabelImage& image = table.images[i];
      image.mask = data + (begin + i) * input.stride(0) * element_size;
      image.number = static_cast<int32_t>(begin + i);
      image.first_pixel = (begin + i) * height * width;
    }
    cuda::find_regions(table, count, work, connectivity, scope.stream());
    cuda::paint_labels(table, count, work, connectivity, labels.mutable_data_ptr<int32_t>(), scope.stream());
  }
  return {labels, counts};
}

// Calls use(table, count) for all images, as many at a time as a kernel takes.
template <typename Use>
void for_tables(const std::vector<cuda::GpuLabelImage>& images, const Use& use) {
  for (size_t begin = 0; begin < images.size(); begin += cuda::kLabelImages) {
    const size_t count = std::min<size_t>(cuda::kLabelImages, images.size() - begin);
    cuda::LabelTable table{};
    std::copy_n(images.begin() + static_cast<int64_t>(begin), count, table.images);
    use(table, static_cast<int64_t>(count));
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> defect_pixels_cuda(const std::vector<Tensor> maps,
                                                                      const std::vector<Tensor> masks,
                                                                      int64_t connectivity) {
  check_defect_pixels(maps, masks, connectivity);
  const int64_t count = static_cast<int64_t>(maps.size());
  std::vector<Tensor> scores, truth;  // keep copies alive
  std::vector<cuda::GpuLabelImage> images;
  Workspace workspace(connectivity);
  const GpuScope scope(maps[0]);
  for (int64_t i = 0; i < count; ++i) {
    const Tensor &map = maps[static_cast<size_t>(i)], &mask = masks[static_cast<size_t>(i)];
    STD_TORCH_CHECK(map.device() == maps[0].device() && mask.device() == maps[0].device(),
                    "defect_pixels: map and mask ", i, " must be on the device of map 0");
    scores.push_back(map.stride(1) == 1 ? map : torch::stable::contiguous(map));
    truth.push_back(mask.stride(1) == 1 ? mask : torch::stable::contiguous(mask));
    images.push_back(image_of(truth.back().const_data_ptr(), mask.size(0), mask.size(1),
                              truth.back().stride(0), static_cast<int64_t>(mask.element_size()), i));
    images.back().map = scores.back().const_data_ptr();
    images.back().map_stride = scores.back().stride(0);
    workspace.add(images.back());
  }
  Tensor totals = torch::stable::new_empty(maps[0], {2, count}, ScalarType::Long);
  cuda::LabelWork work = workspace.allocate(maps[0], true);
  work.regions = totals.mutable_data_ptr<int64_t>();
  work.pixels = work.regions + count;
  for_tables(images, [&](const cuda::LabelTable& table, int64_t some) {
    cuda::find_regions(table, some, work, connectivity, scope.stream());
  });

  // The sizes of the results are known only now: the one wait for the device.
  const Tensor on_host = torch::stable::to(totals, torch::stable::Device(torch::headeronly::DeviceType::CPU));
  const int64_t* found = on_host.const_data_ptr<int64_t>();
  int64_t pixels = 0, regions = 0;
  std::vector<cuda::GpuLabelImage> with_defects;
  for (int64_t i = 0; i < count; ++i) {
    cuda::GpuLabelImage& image = images[static_cast<size_t>(i)];
    image.first_pixel = pixels;
    image.first_region = regions;
    regions += found[i];
    pixels += found[count + i];
    if (found[i] > 0) with_defects.push_back(image);
  }
  STD_TORCH_CHECK(regions < std::numeric_limits<int32_t>::max(),
                  "defect_pixels: more regions than int32 can number");
  Tensor values = torch::stable::new_empty(maps[0], {pixels});
  Tensor region_of = torch::stable::new_empty(maps[0], {pixels}, ScalarType::Int);
  Tensor areas = torch::stable::new_empty(maps[0], {regions}, ScalarType::Long);
  Tensor firsts = torch::stable::new_empty(maps[0], {regions}, ScalarType::Long);
  for_tables(with_defects, [&](const cuda::LabelTable& table, int64_t some) {
    cuda::gather_pixels(table, some, work, connectivity, values.mutable_data_ptr(),
                        static_cast<int64_t>(maps[0].element_size()), region_of.mutable_data_ptr<int32_t>(),
                        areas.mutable_data_ptr<int64_t>(), firsts.mutable_data_ptr<int64_t>(),
                        scope.stream());
  });
  return {values, region_of, areas, firsts, torch::stable::select(totals, 0, 0)};
}

}  // namespace

STADX_GPU_LIBRARY(m) {
  m.impl("label_regions", TORCH_BOX(&label_regions_cuda));
  m.impl("defect_pixels", TORCH_BOX(&defect_pixels_cuda));
}

}  // namespace stadx
