#include "tensor/codecs/block_codec.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/checked.h"
#include "tensor/packed_tensor.h"

namespace lathe {
namespace {

// Largest magnitude of finite values, or infinity when one of them is NaN or infinite. Integer comparison of the bits
// orders magnitudes, and puts infinity and NaN above all.
float largest_magnitude(std::span<const float> values) {
  std::uint32_t largest = 0;
  for (const float value : values) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
  return std::bit_cast<float>(std::min(largest, 0x7f800000u));
}

[[noreturn]] void fail_at(std::string_view tensor_name, std::span<const float> row_values, std::uint64_t row,
                          std::string_view problem) {
  std::size_t column = 0;
  for (std::size_t i = 0; i < row_values.size(); ++i) {
    if (!std::isfinite(row_values[i])) {
      column = i;
      break;
    }
    if (std::abs(row_values[i]) > std::abs(row_values[column])) column = i;
  }
  throw Error(fmt::format("the value {} at row {}, column {} {}", row_values[column], row, column, problem),
              fmt::format("tensor \"{}\"", tensor_name));
}

// Below this magnitude every format's 16-bit scales and elements are finite; above it a row is decoded again to see.
constexpr float kSurelyRepresentable = 32768.0f;

void check_representable(const BlockFormat& format, std::span<const float> values, const std::byte* blocks,
                         std::uint64_t row, std::string_view tensor_name) {
  std::vector<float> decoded(values.size());
  format.decode(blocks, decoded.data(), decoded.size());
  if (std::isfinite(largest_magnitude(decoded))) return;
  fail_at(tensor_name, values, row, fmt::format("is too large for {}", format.name));
}

std::shared_ptr<std::vector<std::byte>> make_buffer(std::uint64_t bytes) {
  return std::make_shared<std::vector<std::byte>>(bytes);
}

std::string where_of(const PackedTensor& tensor) { return fmt::format("tensor \"{}\"", tensor.name); }

std::vector<std::uint64_t> extents_of(const Shape& shape) {
  std::vector<std::uint64_t> extents;
  for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
  return extents;
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
  const std::string where = fmt::format("tensor \"{}\"", tensor_name);
  if (format.encode == nullptr) {
    throw Error(fmt::format("{} can be read but not written", format.name), where, "choose another codec");
  }
  const std::uint64_t stride = row_bytes(format, cols, where);
  const std::uint64_t rows = cols == 0 ? 0 : values.size() / cols;
  if (rows * cols != values.size() || rows * stride != blocks.size()) {
    fail(where, "{} values and {} bytes are not whole {} rows of {} weights", values.size(), blocks.size(), format.name,
         cols);
  }
  if (!importance.empty() && importance.size() != cols) {
    fail(where, "{} importance weights for {} columns", importance.size(), cols);
  }
  for (const float weight : importance) {
    if (!std::isfinite(weight) || weight < 0) fail(where, "importance weight {} is not a number >= 0", weight);
  }
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::span<const float> row_values = values.subspan(row * cols, cols);
    std::byte* row_blocks = blocks.data() + row * stride;
    const float largest = largest_magnitude(row_values);
    if (!std::isfinite(largest)) fail_at(tensor_name, row_values, row, "is not a finite number");
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
  std::vector<std::uint64_t> extents = extents_of(shape);
  extents.back() = stride;  // rank 0 has one column, which only plain types divide into
  return {{"blocks", DType::kU8, Shape::of(extents, where)}};
}

void BlockCodec::decode_row(const PackedTensor& tensor, std::uint64_t row, std::uint64_t column,
                            std::span<float> out) const {
  const std::uint64_t cols = tensor.shape.cols(), block = format_->block_size;
  if (row >= tensor.shape.rows() || column > cols || out.size() > cols - column || column % block != 0 ||
      out.size() % block != 0) {
    fail(where_of(tensor), "columns [{}, {}) of row {} cannot be decoded from {} of shape {}", column,
         column + out.size(), row, name(), tensor.shape.text());
  }
  const Bytes& bytes = tensor.part("blocks");
  const std::uint64_t offset = (row * cols + column) / block * format_->block_bytes;
  const std::uint64_t size = out.size() / block * format_->block_bytes;
  if (offset > bytes.size() || size > bytes.size() - offset) {
    fail(where_of(tensor), "{} bytes are too few for shape {}", bytes.size(), tensor.shape.text());
  }
  format_->decode(bytes.data() + offset, out.data(), out.size());
}

PackedTensor BlockCodec::encode(std::span<const float> values, const Shape& shape, const CodecParams& params,
                                std::span<const float> importance, std::string name) const {
  const std::string where = fmt::format("tensor \"{}\"", name);
  if (values.size() != shape.elements()) fail(where, "{} values for shape {}", values.size(), shape.text());
  const std::uint64_t stride = row_bytes(*format_, shape.cols(), where);
  auto buffer = make_buffer(checked_mul(shape.rows(), stride, "bytes of a tensor", where));
  encode_rows(*format_, values, shape.cols(), importance, *buffer, name);
  PackedTensor tensor{name, this, {}, shape, {}};
  tensor.parts.push_back({parts(shape, params)[0], Bytes(*buffer, std::move(name), buffer)});
  return tensor;
}

PackedTensor BlockCodec::slice_rows(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols();
  if (begin > end || end > rows) {
    fail(where_of(tensor), "rows [{}, {}) are not inside shape {}", begin, end, tensor.shape.text());
  }
  if (tensor.shape.rank() <= 2 && begin == 0 && end == rows) return tensor;
  const std::uint64_t stride = row_bytes(*format_, cols, where_of(tensor));
  PackedTensor slice = tensor;
  slice.shape = Shape{end - begin, cols};
  slice.parts = {{parts(slice.shape, tensor.params)[0],
                  tensor.part("blocks").slice(begin * stride, (end - begin) * stride, "rows of a tensor")}};
  return slice;
}

PackedTensor BlockCodec::slice_columns(const PackedTensor& tensor, std::uint64_t begin, std::uint64_t end) const {
  const std::uint64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), block = format_->block_size;
  if (begin > end || end > cols || begin % block != 0 || end % block != 0) {
    fail(where_of(tensor), "columns [{}, {}) are not whole {} blocks of {} inside shape {}", begin, end, name(), block,
         tensor.shape.text());
  }
  if (begin == 0 && end == cols) return tensor;
  const std::uint64_t stride = row_bytes(*format_, cols, where_of(tensor));
  const std::uint64_t first = begin / block * format_->block_bytes;
  const std::uint64_t slice_stride = (end - begin) / block * format_->block_bytes;
  std::vector<std::uint64_t> extents = extents_of(tensor.shape);
  extents.back() = end - begin;
  PackedTensor slice = tensor;
  slice.shape = Shape::of(extents, where_of(tensor));
  const Bytes& source = tensor.part("blocks");
  Bytes data;
  if (rows == 1) {
    data = source.slice(first, slice_stride, "columns of a tensor");
  } else {
    auto buffer = make_buffer(rows * slice_stride);
    for (std::uint64_t row = 0; row < rows; ++row) {
      const Bytes piece = source.slice(row * stride + first, slice_stride, "columns of a tensor");
      std::copy(piece.span().begin(), piece.span().end(), buffer->begin() + row * slice_stride);
    }
    data = Bytes(*buffer, source.name(), buffer);
  }
  slice.parts = {{parts(slice.shape, tensor.params)[0], std::move(data)}};
  return slice;
}

const BlockFormat* block_format(const Codec& codec) {
  const auto* block_codec = dynamic_cast<const BlockCodec*>(&codec);
  return block_codec == nullptr ? nullptr : &block_codec->format();
}

}  // namespace lathe
