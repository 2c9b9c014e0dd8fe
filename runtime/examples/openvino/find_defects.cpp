// Image score and anomalous pixels of one image, with a model from `stadx export --to openvino`; no Python.
//
//   find_defects bottle.xml photo.ppm
//
// prints a line of JSON, as of `Runtime.line` without the regions.

#include <cmath>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <openvino/openvino.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Image {
  std::size_t height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // [height, width, 3], RGB
};

// A PPM of 8 bits, without comments.
Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  std::string kind;
  Image image;
  int white = 0;
  file >> kind >> image.width >> image.height >> white;
  file.get();
  if (!file || kind != "P6" || white != 255) throw std::runtime_error(path + ": is no PPM (P6) of 8 bits");
  image.pixels.resize(image.height * image.width * 3);
  file.read(reinterpret_cast<char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
  if (!file) throw std::runtime_error(path + ": ends before its last pixel");
  return image;
}

// One of the thresholds in what the export says of itself, a JSON: {..., "thresholds": {"pixel": 3.1,
// "image": 4.2}, ...}
double threshold(const std::string& description, const std::string& kind) {
  const std::string key = '"' + kind + "\": ";
  const auto begin = description.find(key, description.find("\"thresholds\": {"));
  if (begin == std::string::npos) throw std::runtime_error("the model has no " + kind + " threshold");
  return std::stod(description.substr(begin + key.size()));
}

// The highest float that is not above a threshold, so that a float score is above both or above none; a
// tensor [1].
ov::Tensor below(double threshold) {
  float value = static_cast<float>(threshold);
  if (value > threshold) value = std::nextafter(value, -std::numeric_limits<float>::infinity());
  ov::Tensor tensor(ov::element::f32, {1});
  *tensor.data<float>() = value;
  return tensor;
}

void find_defects(const std::string& model_file, const std::string& image_file) {
  ov::Core core;
  const std::shared_ptr<ov::Model> model = core.read_model(model_file);
  const auto description = model->get_rt_info<std::string>("stadx");
  const double pixel_threshold = threshold(description, "pixel"),
               image_threshold = threshold(description, "image");
  Image image = read_ppm(image_file);
  const auto taken = model->input("images").get_partial_shape();
  const auto type = model->input("images").get_element_type();
  if (type != ov::element::u8)
    throw std::runtime_error(model_file + ": takes images of " + type.get_type_name());
  const auto height = static_cast<std::size_t>(taken[1].get_length());
  const auto width = static_cast<std::size_t>(taken[2].get_length());
  if (height != image.height || width != image.width) {
    throw std::runtime_error(image_file + ": has another size than the model takes, " +
                             std::to_string(width) + "x" + std::to_string(height) + "; export with --size");
  }
  // as the comparison at the export did: by default processors with bfloat16 round
  const auto precision = description.find("\"inference_precision\": \"bfloat16\"") == std::string::npos
                             ? ov::element::f32
                             : ov::element::bf16;
  ov::InferRequest request =
      core.compile_model(model, "CPU", ov::hint::inference_precision(precision)).create_infer_request();
  request.set_tensor("images", ov::Tensor(ov::element::u8, {1, height, width, 3}, image.pixels.data()));
  request.set_tensor("pixel_threshold", below(pixel_threshold));
  request.set_tensor("image_threshold", below(image_threshold));
  request.infer();

  const ov::Tensor masks = request.get_tensor("masks"), verdicts = request.get_tensor("is_anomalous");
  const auto* mask = static_cast<const std::uint8_t*>(masks.data());
  std::size_t anomalous = 0;
  for (std::size_t i = 0; i < masks.get_size(); ++i) anomalous += mask[i] != 0;
  const float score = request.get_tensor("image_scores").data<float>()[0];
  const bool verdict = *static_cast<const std::uint8_t*>(verdicts.data()) != 0;
  std::cout.precision(std::numeric_limits<double>::max_digits10);
  std::cout << "{\"image_score\": " << score << ", \"image_threshold\": " << image_threshold
            << ", \"is_anomalous\": " << (verdict ? "true" : "false")
            << ", \"pixel_threshold\": " << pixel_threshold << ", \"anomalous_pixels\": " << anomalous
            << ", \"pixels\": " << masks.get_size() << "}\n";
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: find_defects MODEL.xml IMAGE.ppm\n";
    return 2;
  }
  try {
    find_defects(arguments[1], arguments[2]);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
