// Named tensors of a model, and the schema: which names an architecture has, and with which shapes. Names are those of
// GGUF files ("blk.3.attn_q.weight"); other layouts are mapped on reading and writing (arch/families.h).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "arch/architecture.h"
#include "tensor/packed_tensor.h"

namespace lathe::arch {

class Weights {
 public:
  void add(PackedTensor tensor);  // under tensor.name; throws when the name is taken
  void remove(std::string_view name);
  const PackedTensor* find(std::string_view name) const;
  const PackedTensor& at(std::string_view name) const;  // throws an Error naming the missing tensor
  // In name order.
  const std::map<std::string, PackedTensor, std::less<>>& all() const { return tensors_; }
  std::uint64_t parameters() const;
  std::uint64_t bytes() const;

 private:
  std::map<std::string, PackedTensor, std::less<>> tensors_;
};

struct WeightSpec {
  std::string name;
  Shape shape;
};

// Every tensor the architecture needs, in the order a file holds them.
std::vector<WeightSpec> weight_schema(const Architecture& architecture);

// Throws an Error naming `where` and the tensor unless every tensor of the schema is there with its shape. Tensors
// beyond the schema are allowed and ignored (their names are returned, for a warning).
std::vector<std::string> check_weights(const Architecture& architecture, const Weights& weights,
                                       std::string_view where);

}  // namespace lathe::arch
