// Plants outliers into a model without changing what it computes: one channel of layers' norms times SIZE, the columns
// that read it by 1 / SIZE. Methods that move or keep outliers aside are compared on such models.
//
//   plant_outliers MODEL OUT SIZE CHANNEL [LAYER]...    in these layers, or in all; SIZE: a power of two
#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cstring>
#include <numeric>
#include <span>
#include <vector>

#include "base/error.h"
#include "formats/model_file.h"
#include "quant/outliers.h"

namespace lathe {
namespace {

std::uint32_t below(const char* text, std::uint32_t end_of_range, const char* what) {
  std::uint32_t value = 0;
  const char* end = text + std::strlen(text);
  if (std::from_chars(text, end, value).ptr != end || value >= end_of_range) {
    fail(what, "\"{}\" is not a number below {}", text, end_of_range);
  }
  return value;
}

void plant(std::span<char*> arguments) {
  formats::ModelFile model = formats::load_model(arguments[0]);
  const std::uint32_t size = below(arguments[2], 1 << 20, "SIZE"), n_layers = model.architecture.n_layers;
  if (!std::has_single_bit(size)) fail("SIZE", "{} is not a power of two", size);
  const std::vector<std::size_t> channels = {below(arguments[3], model.architecture.width, "CHANNEL")};
  std::vector<std::uint32_t> layers;
  for (const char* layer : arguments.subspan(4)) layers.push_back(below(layer, n_layers, "LAYER"));
  if (layers.empty()) {
    layers.resize(n_layers);
    std::iota(layers.begin(), layers.end(), 0u);
  }
  formats::save_model(quant::with_outliers(std::move(model), static_cast<float>(size), channels, layers), arguments[1]);
  fmt::print("{}: channel {} of {} layers {} times as large\n", arguments[1], channels[0], layers.size(), size);
}

}  // namespace
}  // namespace lathe

int main(int argc, char** argv) {
  if (argc < 5) {
    fmt::print(stderr, "usage: plant_outliers MODEL OUT SIZE CHANNEL [LAYER]...\n");
    return 2;
  }
  try {
    lathe::plant({argv + 1, argv + argc});
  } catch (const lathe::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
