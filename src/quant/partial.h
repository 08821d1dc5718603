// Finished layers of an interrupted run, kept beside the output so that the same command goes on where it stopped.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "tensor/packed_tensor.h"

namespace lathe::quant {

class PartialRun {
 public:
  // The folder `output` + ".partial". `fingerprint` says what the run depends on; layers of another run are removed.
  PartialRun(const std::filesystem::path& output, const std::string& fingerprint);

  // The layer's tensors, mapped, when an earlier run finished it whole. Throws an Error naming a damaged file.
  std::optional<std::map<std::string, PackedTensor>> load(int layer) const;
  // Writes them (all or nothing) and returns them as mapped from there: a finished layer takes no memory. Numbers
  // behind the last layer's are for other tensors that should take none.
  std::map<std::string, PackedTensor> store(int layer, const std::map<std::string, PackedTensor>& tensors) const;
  // After the output is complete. Tensors that were handed out stay valid.
  void remove() const;

 private:
  std::filesystem::path file_of(int layer) const;
  std::filesystem::path folder_;
};

}  // namespace lathe::quant
