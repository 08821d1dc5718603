// A number that stands for what a model or an adapter computes: equal for equal files, wherever they lie and whatever
// they are called.
#pragma once

#include <cstdint>

#include "formats/adapter_file.h"
#include "formats/model_file.h"

namespace lathe::formats {

// Of the architecture and, for each tensor, its name, codec, shape and the first and last 4 KiB of every part. Cheap
// for a model of any size, therefore blind to a change that leaves both ends of every tensor as they were (a few rows
// edited by hand); training, merging and quantizing change them all. The tokenizer does not count.
std::uint64_t fingerprint(const ModelFile& model);

// Of every byte of its matrices, and their scales.
std::uint64_t fingerprint(const AdapterFile& adapter);

}  // namespace lathe::formats
