// Round to nearest: every weight goes to the closest level of its group's grid, and the grid is the one that leaves the
// smallest squared error. No calibration. The base line that every other method has to beat.
#include "quant/method.h"

namespace lathe::quant {
namespace {

class Rtn final : public Method {
 public:
  std::string_view name() const override { return "rtn"; }
  std::string_view description() const override { return "round to nearest, scales searched for the least error"; }
  std::string_view paper() const override { return ""; }
  Needs needs() const override { return Needs::kNothing; }
  bool can_target(const Target& target) const override { return target.codec->can_encode(); }
  void quantize(LayerWork& work) const override {
    for (const Linears& linears : work.linears_by_input()) {
      for (const std::string& linear : linears) work.round_to_target(linear + ".weight");
    }
  }
};

}  // namespace

const Method& rtn_method() {
  static const Rtn kMethod;
  return kMethod;
}

}  // namespace lathe::quant
