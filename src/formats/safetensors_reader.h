// safetensors: one file's tensor table and free-form metadata, as data that points into the mapping.
// docs/formats/safetensors.md describes the layout and what is checked.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/checked.h"
#include "tensor/packed_tensor.h"

namespace lathe::formats {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint64_t offset = 0, bytes = 0;  // within the data section
};

struct SafetensorsFile {
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::vector<SafetensorsEntry> tensors;        // by offset: they cover the data section without gap or overlap
  std::uint64_t data_offset = 0;

  const SafetensorsEntry* find(std::string_view name) const;
};

// A length that fits the file, followed by "{".
bool is_safetensors(const Bytes& bytes);

// Throws an Error naming the file and the tensor. `complete` false accepts a file whose data section is cut short.
SafetensorsFile read_safetensors_header(const Bytes& bytes, bool complete = true);

Bytes safetensors_data(const Bytes& bytes, const SafetensorsFile& file, const SafetensorsEntry& entry);

// As a tensor under the plain codec of its dtype; without parts when `with_data` is false.
PackedTensor safetensors_tensor(const Bytes& bytes, const SafetensorsFile& file, const SafetensorsEntry& entry,
                                bool with_data = true);

// The dtype that safetensors spells so; throws for one that Lathe has not (the 8-bit floats).
DType safetensors_dtype(std::string_view name, std::string_view where);

}  // namespace lathe::formats
