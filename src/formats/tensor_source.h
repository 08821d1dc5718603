// A tensor that is about to be written: what it will be, and how to get it. Writers ask for one at a time, so a model
// is converted in the memory of its largest tensor.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/model_file.h"

namespace lathe::formats {

struct TensorSource {
  std::string name;  // canonical, or the target's own when a writer was told so
  const Codec* codec = nullptr;
  CodecParams params;
  Shape shape;
  std::function<PackedTensor()> read;  // name, codec, params and shape as above
};

// Bytes of all parts.
std::uint64_t source_bytes(const TensorSource& source);

// Writes bytes whose pages, where they are mapped from a file, are not needed again.
void write_and_drop(AtomicFile& file, const Bytes& bytes);

// Every tensor of the model in file order (that of the schema, then others by name), under `dtype` when one is asked
// for (a codec, which falls back to F16 where it does not divide a tensor, with a warning, or a mix of
// arch/codec_mix.h; matrices only), its query and key rows ordered for `layout`.
std::vector<TensorSource> tensor_sources(const ModelFile& model, const std::string& dtype, RopeLayout layout);

}  // namespace lathe::formats
