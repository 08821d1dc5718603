#include "formats/tensor_layout.h"

#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"

namespace lathe::formats {
namespace {

std::string where_of(const PackedTensor& tensor) { return fmt::format("tensor \"{}\"", tensor.name); }

using Buffer = std::vector<std::byte>;

}  // namespace

PackedTensor read_parts(std::string name, const Codec& codec, const CodecParams& params, const Shape& shape,
                        const std::function<Bytes(const PartSpec&)>& read) {
  std::vector<Bytes> data;
  for (const PartSpec& spec : codec.parts(shape, params)) data.push_back(read(spec));
  return packed_parts(std::move(name), codec, shape, params, std::move(data));
}

PackedTensor permute_rows(const PackedTensor& tensor, const std::function<std::uint64_t(std::uint64_t)>& source) {
  const std::uint64_t rows = tensor.shape.rank() == 1 ? tensor.shape.elements() : tensor.shape.rows();
  PackedTensor result = tensor;
  for (Part& part : result.parts) {
    const Shape& shape = part.spec.shape;
    if (rows == 0 || shape.rank() == 0 || shape[0] != rows || part.data.size() % rows != 0) {
      throw Error(
          fmt::format("the rows of {} tensors cannot be reordered for another RoPE layout", tensor.codec->name()),
          where_of(tensor), "choose a codec that lies in rows");
    }
    const std::uint64_t stride = part.data.size() / rows;
    auto buffer = std::make_shared<Buffer>(part.data.size());
    for (std::uint64_t row = 0; row < rows; ++row) {
      std::memcpy(buffer->data() + row * stride, part.data.data() + source(row) * stride, stride);
    }
    part.data = Bytes(*buffer, part.data.name(), buffer);
  }
  return result;
}

namespace {

// Where row `row` of the canonical order lies in the grouped one.
std::uint64_t grouped_row(const arch::Architecture& a, std::uint64_t row) {
  const std::uint64_t group = a.n_heads / a.n_kv_heads, dim = a.head_dim, size = (group + 1) * dim + a.v_head_dim;
  if (row < a.q_width()) {
    const std::uint64_t head = row / dim;
    return head / group * size + head % group * dim + row % dim;
  }
  row -= a.q_width();
  if (row < a.k_width()) return row / dim * size + group * dim + row % dim;
  row -= a.k_width();
  return row / a.v_head_dim * size + (group + 1) * dim + row % a.v_head_dim;
}

void check_qkv_rows(const PackedTensor& tensor, const arch::Architecture& a) {
  const std::uint64_t rows = tensor.shape.rank() == 1 ? tensor.shape.elements() : tensor.shape.rows();
  const std::uint64_t expected = std::uint64_t{a.q_width()} + a.k_width() + a.v_width();
  if (rows != expected) fail(where_of(tensor), "has {} rows, expected {}", rows, expected);
}

}  // namespace

PackedTensor ungroup_qkv(const PackedTensor& tensor, const arch::Architecture& a) {
  check_qkv_rows(tensor, a);
  return permute_rows(tensor, [&](std::uint64_t row) { return grouped_row(a, row); });
}

PackedTensor group_qkv(const PackedTensor& tensor, const arch::Architecture& a) {
  check_qkv_rows(tensor, a);
  std::vector<std::uint64_t> source(std::uint64_t{a.q_width()} + a.k_width() + a.v_width());
  for (std::uint64_t row = 0; row < source.size(); ++row) source[grouped_row(a, row)] = row;
  return permute_rows(tensor, [&](std::uint64_t row) { return source[row]; });
}

PackedTensor shifted(const PackedTensor& tensor, float offset) {
  if (tensor.parts.empty()) return {tensor.name, &codec_named("F32"), {}, tensor.shape, {}};
  std::vector<float> values = tensor.to_floats();
  for (float& value : values) value += offset;
  return pack(tensor.name, codec_named("F32"), tensor.shape, values);
}

PackedTensor without_first_rows(const PackedTensor& tensor, std::uint64_t count) {
  if (tensor.shape.rank() != 2 || tensor.shape.rows() <= count)
    fail(where_of(tensor), "has shape {}, expected a matrix of more than {} rows", tensor.shape.text(), count);
  if (tensor.parts.empty())
    return {tensor.name, tensor.codec, tensor.params, Shape{tensor.shape.rows() - count, tensor.shape.cols()}, {}};
  return tensor.rows(count, tensor.shape.rows());
}

PackedTensor with_zero_rows(const PackedTensor& tensor, std::uint64_t count) {
  const BlockFormat* format = block_format(*tensor.codec);
  if (format == nullptr || format->block_size != 1 || tensor.shape.rank() != 2)
    fail(where_of(tensor), "rows of zeros cannot stand before a {} tensor", tensor.codec->name());
  const Shape shape{tensor.shape.rows() + count, tensor.shape.cols()};
  const std::span<const std::byte> data = tensor.parts.at(0).data.span();
  const std::uint64_t zeros = count * shape.cols() * format->block_bytes;
  auto buffer = std::make_shared<Buffer>(zeros + data.size());
  std::copy(data.begin(), data.end(), buffer->begin() + static_cast<std::ptrdiff_t>(zeros));
  return packed_blocks(tensor.name, *tensor.codec, shape, Bytes(*buffer, tensor.parts[0].data.name(), buffer));
}

PackedTensor transpose(const PackedTensor& tensor) {
  const BlockFormat* format = block_format(*tensor.codec);
  if (format == nullptr || format->block_size != 1 || tensor.shape.rank() != 2) {
    throw Error(fmt::format("a {} tensor of shape {} cannot be transposed", tensor.codec->name(), tensor.shape.text()),
                where_of(tensor), "convert the model with an unquantized dtype (F32, F16 or BF16)");
  }
  const std::uint64_t rows = tensor.shape[0], cols = tensor.shape[1], element = format->block_bytes;
  const Shape shape{cols, rows};
  if (tensor.parts.empty()) return PackedTensor{tensor.name, tensor.codec, tensor.params, shape, {}};
  const std::byte* in = tensor.parts[0].data.data();
  auto buffer = std::make_shared<Buffer>(tensor.parts[0].data.size());
  constexpr std::uint64_t kTile = 64;  // keeps both sides in the cache
  for (std::uint64_t row0 = 0; row0 < rows; row0 += kTile) {
    for (std::uint64_t col0 = 0; col0 < cols; col0 += kTile) {
      for (std::uint64_t row = row0; row < std::min(rows, row0 + kTile); ++row) {
        for (std::uint64_t col = col0; col < std::min(cols, col0 + kTile); ++col) {
          std::memcpy(buffer->data() + (col * rows + row) * element, in + (row * cols + col) * element, element);
        }
      }
    }
  }
  return packed_blocks(tensor.name, *tensor.codec, shape, Bytes(*buffer, tensor.parts[0].data.name(), buffer));
}

PackedTensor change_rope_layout(const PackedTensor& tensor, const arch::Architecture& a, std::uint32_t n_heads,
                                RopeLayout from, RopeLayout to) {
  if (from == to) return tensor;
  const std::uint64_t rows = tensor.shape.rank() == 1 ? tensor.shape.elements() : tensor.shape.rows();
  const std::uint64_t head = a.head_dim, rotary = a.rotary_dim, half = rotary / 2;
  if (rows != n_heads * head) {
    fail(where_of(tensor), "has {} rows, expected {} heads of {}", rows, n_heads, head);
  }
  return permute_rows(tensor, [&](std::uint64_t row) {
    const std::uint64_t begin = row / head * head, i = row % head;
    if (i >= rotary) return row;
    // Pair p consists of rows (2p, 2p + 1) when interleaved and (p, p + half) in halves.
    if (to == RopeLayout::kInterleaved) return begin + i / 2 + (i % 2) * half;
    return begin + 2 * (i % half) + i / half;
  });
}

}  // namespace lathe::formats
