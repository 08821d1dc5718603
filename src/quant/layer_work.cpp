#include "quant/layer_work.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/cancel.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace lathe::quant {
namespace {

// That a codec takes: most hold their scales, or weights, as half-precision numbers.
float largest_weight(const Codec& codec) {
  if (codec.name() == "F32") return std::numeric_limits<float>::max();
  return codec.name() == "BF16" ? 0x1.fep127f : 65504;
}

}  // namespace

std::vector<float>& LayerWork::values(const std::string& name) {
  auto& found = floats[name];
  if (found.empty()) found = source.at(name).to_floats();
  return found;
}

const std::vector<float>& LayerWork::checked_values(const std::string& name) {
  const std::vector<float>& found = values(name);
  check_weights(name, found, shape(name).cols(), *target.codec);
  return found;
}

void check_weights(const std::string& name, std::span<const float> values, std::uint64_t columns, const Codec& codec,
                   std::uint64_t first_row) {
  const float largest = largest_weight(codec);
  const auto bad =
      std::find_if(values.begin(), values.end(), [&](float value) { return !(std::abs(value) <= largest); });
  if (bad == values.end()) return;
  const auto at = static_cast<std::uint64_t>(bad - values.begin());
  throw Error(fmt::format("the value {} at row {}, column {} is {}", *bad, first_row + at / columns, at % columns,
                          std::isfinite(*bad) ? fmt::format("beyond {}, the largest for {}", largest, codec.name())
                                              : "not a finite number"),
              fmt::format("tensor \"{}\"", name),
              "the model is damaged: get it again, or mend the tensor, and run again");
}

void check_weights(const PackedTensor& tensor, const Codec& codec, ThreadPool& pool) {
  const std::uint64_t columns = tensor.shape.cols();
  pool.parallel_for(tensor.shape.rows(), 16, [&](std::size_t begin, std::size_t end, int) {
    interrupt_token().check();
    std::vector<float> values(columns);
    for (std::size_t row = begin; row < end; ++row) {
      tensor.decode_row(row, values);
      check_weights(tensor.name, values, columns, codec, row);
    }
  });
  for (const Part& part : tensor.parts) drop_pages(part.data.span());
}

void fail_scale(const std::string& name, std::uint64_t row) {
  throw Error(
      fmt::format("a scale of row {} came out beyond half precision, since errors of other columns added up", row),
      fmt::format("tensor \"{}\"", name), "use a larger --damping, more calibration text, or --method rtn");
}

bool is_router(const arch::OpList& ops, int layer, int slot) {
  return std::any_of(ops.ops.begin(), ops.ops.end(), [&](const arch::Op& op) {
    return op.layer == layer && op.kind == arch::OpKind::kRoute && op.in == slot;
  });
}

std::vector<Linears> LayerWork::linears_by_input() const {
  std::vector<Linears> found;
  for (const arch::Op& op : ops->ops) {
    if (op.layer != layer) continue;
    if (op.kind == arch::OpKind::kLinear) {
      Linears linears;
      for (const arch::LinearUse& use : op.linears) {
        if (!is_router(*ops, layer, use.out)) linears.push_back(use.weight);
      }
      if (!linears.empty()) found.push_back(std::move(linears));
    } else if (op.kind == arch::OpKind::kGroupedLinear && op.choice != arch::kNoSlot) {
      for (std::uint32_t expert = 0; expert < op.linears.front().matrices; ++expert) {
        Linears& linears = found.emplace_back();
        for (const arch::LinearUse& use : op.linears) linears.push_back(fmt::format("{}.{}", use.weight, expert));
      }
    }
  }
  return found;
}

const InputStatistics& LayerWork::input_of(const std::string& linear) const {
  const auto found = inputs.find(linear);
  if (found == inputs.end()) fail(linear, "calibration did not reach this layer");
  return *found->second;
}

Target target_for(const Target& target, const std::string& name, std::uint64_t columns) {
  check_parameters(target);  // what is left to go wrong are the rows
  try {
    target.codec->parts(Shape{1, columns}, target.params);
    return target;
  } catch (const Error&) {
    log_warning("tensor \"{}\": {} cannot hold rows of {} weights, stored as F16", name, target.codec->name(), columns);
    return {&codec_named("F16"), {}};
  }
}

Target LayerWork::target_of(const std::string& name) {
  const std::uint64_t columns = shape(name).cols();
  if (mix != nullptr) return {&arch::codec_in_mix(*mix, *architecture, name, columns), {}};
  const auto known = targets.find(columns);
  return known != targets.end() ? known->second : targets[columns] = target_for(target, name, columns);
}

namespace {

// pack_rows for codecs whose rows stand alone; values(begin, end) are those of some rows.
template <class Values>
PackedTensor pack_lone_rows(const std::string& name, const Target& target, const Shape& shape, const Values& values,
                            std::span<const float> importance, ThreadPool& pool) {
  const std::uint64_t rows = shape.rows(), cols = shape.cols();
  const std::vector<PartSpec> specs = target.codec->parts(shape, target.params);
  std::vector<std::shared_ptr<std::vector<std::byte>>> buffers;
  buffers.reserve(specs.size());
  for (const PartSpec& spec : specs) {
    buffers.push_back(std::make_shared<std::vector<std::byte>>(spec.shape.elements() * dtype_bytes(spec.dtype)));
  }
  constexpr std::uint64_t kRows = 16;
  pool.parallel_for(rows, kRows, [&](std::size_t begin, std::size_t end, int) {
    const PackedTensor part =
        pack(name, *target.codec, Shape{end - begin, cols}, values(begin, end), target.params, importance);
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      std::memcpy(buffers[i]->data() + buffers[i]->size() / rows * begin, part.parts[i].data.data(),
                  part.parts[i].data.size());
    }
  });
  PackedTensor tensor{name, target.codec, target.params, shape, {}};
  for (std::size_t i = 0; i < specs.size(); ++i) {
    tensor.parts.push_back({specs[i], Bytes(*buffers[i], name, buffers[i])});
  }
  return tensor;
}

}  // namespace

PackedTensor pack_rows(const std::string& name, const Target& target, const Shape& shape, std::span<const float> values,
                       std::span<const float> importance, ThreadPool& pool) {
  if (!target.codec->rows_stand_alone()) {
    return pack(name, *target.codec, shape, values, target.params, importance);
  }
  const auto some = [&](std::size_t begin, std::size_t end) {
    return values.subspan(begin * shape.cols(), (end - begin) * shape.cols());
  };
  return pack_lone_rows(name, target, shape, some, importance, pool);
}

PackedTensor pack_rows(const PackedTensor& source, const Target& target, ThreadPool& pool) {
  if (!target.codec->rows_stand_alone())
    return pack(source.name, *target.codec, source.shape, source.to_floats(), target.params);
  const auto some = [&](std::size_t begin, std::size_t end) { return source.rows(begin, end).to_floats(); };
  return pack_lone_rows(source.name, target, source.shape, some, {}, pool);
}

void LayerWork::round_to_target(const std::string& name, std::span<const float> importance) {
  packed[name] = pack_rows(name, target_of(name), shape(name), checked_values(name), importance, *pool);
}

void LayerWork::keep_changed() {
  for (const auto& [name, changed] : floats) {
    if (packed.contains(name)) continue;
    packed[name] = pack(name, codec_named("F32"), shape(name), changed);
  }
}

}  // namespace lathe::quant
