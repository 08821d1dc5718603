#include "tensor/codecs/block_codec.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/checked.h"
#include "tensor/codecs/checks.h"
#include "tensor/codecs/part_slices.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// Below this magnitude every format's 16-bit scales and elements are finite; above it a row is decoded again to see.
constexpr float kSurelyRepresentable = 32768.0f;

void check_representable(const BlockFormat& format, std::span<const float> values, const std::byte* blocks,
                         std::uint64_t row, std::string_view tensor_name) {
  std::vector<float> decoded(values.size());
  format.decode(blocks, decoded.data(), decoded.size());
  const bool finite = std::all_of(decoded.begin(), decoded.end(), [](float value) { return std::isfinite(value); });
  if (!finite) fail_too_large(values, row, format.name, tensor_name);
}

const DType* dtype_named(std::string_view name) {
  static constexpr DType kAll[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                                   DType::kI32, DType::kI16, DType::kI8,  DType::kU64,  DType::kU32,
                                   DType::kU16, DType::kU8,  DType::kBool};
  for (const DType& dtype : kAll) {
    if (dtype_name(dtype) == name) return &dtype;
  }
  return nullptr;
}

}  // namespace

std::uint64_t row_bytes(const BlockFormat& format, std::uint64_t cols, std::string_view where) {
  if (cols % format.block_size != 0) {
    throw Error(
        fmt::format("rows of {} weights do not divide into {} blocks of {}", cols, format.name, format.block_size),
        std::string(where), "use a codec with a smaller block for this tensor");
  }
  return checked_mul(cols / format.block_size, format.block_bytes, "bytes of a row", where);
}

void encode_rows(const BlockFormat& format, std::span<const float> values, std::uint64_t cols,
                 std::span<const float> importance, std::span<std::byte> blocks, std::string_view tensor_name) {
  const std::string where = tensor_place(tensor_name);
  if (format.encode == nullptr) {
    throw Error(fmt::format("{} can be read but not written", format.name), where, "choose another codec");
  }
  const std::uint64_t stride = row_bytes(format, cols, where);
  const std::uint64_t rows = cols == 0 ? 0 : values.size() / cols;
  if (rows * cols != values.size() || rows * stride != blocks.size()) {
    fail(where, "{} values and {} bytes are not whole {} rows of {} weights", values.size(), blocks.size(), format.name,
         cols);
  }
  check_importance(importance, cols, tensor_name);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::span<const float> row_values = values.subspan(row * cols, cols);
    std::byte* row_blocks = blocks.data() + row * stride;
    const float largest = check_finite(row_values, row, tensor_name);
    format.encode(row_values.data(), row_blocks, cols, importance.empty() ? nullptr : importance.data());
    if (largest > kSurelyRepresentable) check_representable(format, row_values, row_blocks, row, tensor_name);
  }
}

std::vector<PartSpec> BlockCodec::parts(const Shape& shape, const CodecParams&) const {
  const std::string where = fmt::format("{} tensor of shape {}", name(), shape.text());
  const std::uint64_t stride = row_bytes(*format_, shape.cols(), where);
  checked_mul(shape.rows(), stride, "bytes of a tensor", where);
  const DType* dtype = format_->block_size == 1 ? dtype_named(format_->name) : nullptr;
  if (dtype != nullptr) return {{"blocks", *dtype, shape}};
  return {{"blocks", DType::kU8, with_cols(shape, stride)}};
}

void BlockCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                            std::span<float> out) const {
  check_columns(tensor, row, column, out.size());
  const Bytes& bytes = tensor.part("blocks");
  const std::uint64_t offset = (row * tensor.shape.cols() + column) / format_->block_size * format_->block_bytes;
  const std::uint64_t size = out.size() / format_->block_size * format_->block_bytes;
  const Extent extent = Extent::within(bytes.size(), offset, size, "a row of weights", tensor.name);
  format_->decode(bytes.data() + extent.offset(), out.data(), out.size());
}

PackedTensor BlockCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                                std::span<const float> importance, std::string name) const {
  const std::string where = tensor_place(name);
  if (values.size() != shape.elements()) fail(where, "{} values for shape {}", values.size(), shape.text());
  const std::uint64_t stride = row_bytes(*format_, shape.cols(), where);
  auto buffer = std::make_shared<std::vector<std::byte>>(checked_mul(shape.rows(), stride, "bytes of a tensor", where));
  encode_rows(*format_, values, shape.cols(), importance, *buffer, name);
  PackedTensor tensor{name, this, {}, shape, {}};
  tensor.parts.push_back({parts(shape, params)[0], Bytes(*buffer, std::move(name), buffer)});
  return tensor;
}

PackedTensor BlockCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_row_slice(tensor, begin, end);
  const std::uint64_t stride = row_bytes(*format_, tensor.shape.cols(), tensor_place(tensor.name));
  PackedTensor slice = tensor;
  slice.shape = with_rows(tensor.shape, end - begin);
  slice.parts = {{parts(slice.shape, tensor.params)[0], part_rows(tensor.part("blocks"), stride, begin, end)}};
  return slice;
}

PackedTensor BlockCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  check_column_slice(tensor, begin, end);
  const std::uint64_t stride = row_bytes(*format_, tensor.shape.cols(), tensor_place(tensor.name));
  const std::uint64_t first = begin / format_->block_size * format_->block_bytes;
  const std::uint64_t last = end / format_->block_size * format_->block_bytes;
  PackedTensor slice = tensor;
  slice.shape = with_cols(tensor.shape, end - begin);
  slice.parts = {{parts(slice.shape, tensor.params)[0],
                  part_columns(tensor.part("blocks"), tensor.shape.rows(), stride, first, last - first)}};
  return slice;
}

const BlockFormat* block_format(const Codec& codec) {
  const auto* block_codec = dynamic_cast<const BlockCodec*>(&codec);
  return block_codec == nullptr ? nullptr : &block_codec->format();
}

}  // namespace lathe
