// GGUF (versions 2 and 3): the header, the key-values and the tensor table of one file, as data that points into the
// mapping. No byte of a tensor is touched. docs/formats/gguf.md describes the layout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/checked.h"
#include "formats/metadata.h"
#include "tensor/packed_tensor.h"

namespace lathe::formats {

struct GgufTensor {
  std::string name;
  const Codec* codec = nullptr;
  Shape shape;               // outermost first, the reverse of the file's order
  std::uint64_t offset = 0;  // from the start of the data section
  std::uint64_t bytes = 0;   // what the shape needs in this codec
};

struct GgufFile {
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;  // of every tensor's offset
  Metadata metadata;
  std::vector<GgufTensor> tensors;  // in file order, names unique
  std::uint64_t data_offset = 0;    // of the data section, from the start of the file
};

inline constexpr std::string_view kGgufMagic = "GGUF";

// Whether `bytes` start like a GGUF file.
bool is_gguf(const Bytes& bytes);

// Parses everything before the data section. Throws an Error naming the file (bytes.name()) and the key or tensor.
GgufFile read_gguf_header(const Bytes& bytes);

// `n_keys` key-values at the reader's position.
Metadata read_gguf_metadata(ByteReader& reader, std::uint64_t n_keys);

// The tensor over its bytes in the file; throws when they do not lie inside it. `with_data` false leaves it without
// parts (name, codec and shape only).
PackedTensor gguf_tensor(const Bytes& bytes, const GgufFile& file, const GgufTensor& tensor, bool with_data = true);

// "model-00002-of-00005.gguf" as {"model", 2, 5}; count 0 when the name is not of that form.
struct SplitName {
  std::string stem;
  std::uint32_t index = 0, count = 0;  // index counts from 1
};
SplitName parse_split_name(const std::string& file_name, std::string_view extension);
std::string split_name(std::string_view stem, std::uint32_t index, std::uint32_t count, std::string_view extension);

}  // namespace lathe::formats
