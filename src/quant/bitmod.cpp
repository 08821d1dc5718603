// BitMoD (Chen et al. 2025, section III-B, algorithm 1): every group of weights takes the one of four data types whose
// rounding leaves the least squared error, its scale always the one that covers the group's largest magnitude. No
// calibration. (What `rtn` does to the same codec searches the scales too.)
#include "tensor/codecs/bitmod.h"
#include "quant/method.h"

namespace lathe::quant {
namespace {

class Bitmod final : public Method {
 public:
  std::string_view name() const override { return "bitmod"; }
  std::string_view description() const override { return "the best of four data types for each group of weights"; }
  std::string_view paper() const override { return "Chen et al. 2025"; }
  std::string_view usual_codec() const override { return "BITMOD"; }
  Needs needs() const override { return Needs::kNothing; }
  bool can_target(const Target& target) const override { return bitmod_codec(*target.codec) != nullptr; }

  void quantize(LayerWork& work) const override {
    for (const Linears& linears : work.linears_by_input()) {
      for (const std::string& linear : linears) adapt(work, linear + ".weight");
    }
  }

 private:
  static void adapt(LayerWork& work, const std::string& name) {
    const CodecParams& params = work.target.params;
    const std::vector<float>& weight = work.checked_values(name);
    const Shape& shape = work.shape(name);
    const std::size_t cols = shape.cols(), group = static_cast<std::size_t>(params.group_size);
    std::vector<BitmodRow> rows(shape.rows());
    work.pool->parallel_for(rows.size(), 16, [&](std::size_t begin, std::size_t end, int) {
      std::vector<BitmodFit> fits;
      for (std::size_t row = begin; row < end; ++row) {
        const std::span<const float> x = std::span(weight).subspan(row * cols, cols);
        fits.clear();
        for (std::size_t first = 0; first < cols; first += group) {
          fits.push_back(adapt_bitmod_group(x.subspan(first, std::min(group, cols - first)), params.bits));
        }
        rows[row] = round_bitmod_row(x, fits, params);
      }
    });
    work.packed[name] = pack_bitmod_rows(name, shape, params, rows);
  }
};

}  // namespace

const Method& bitmod_method() {
  static const Bitmod kMethod;
  return kMethod;
}

}  // namespace lathe::quant
