// The table of codecs. Adding one is a layout file and one row here.
#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"
#include "tensor/codec.h"
#include "tensor/codecs/balanced.h"
#include "tensor/codecs/bitmod.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/codecs/dgq.h"
#include "tensor/codecs/fdb.h"
#include "tensor/codecs/fp4.h"
#include "tensor/codecs/i8_group.h"
#include "tensor/codecs/int_group.h"
#include "tensor/codecs/iq1.h"
#include "tensor/codecs/iq2.h"
#include "tensor/codecs/iq3.h"
#include "tensor/codecs/iq4.h"
#include "tensor/codecs/low_bit.h"
#include "tensor/codecs/plain.h"
#include "tensor/codecs/q2_k.h"
#include "tensor/codecs/q3_k.h"
#include "tensor/codecs/q4.h"
#include "tensor/codecs/q4_k.h"
#include "tensor/codecs/q5.h"
#include "tensor/codecs/q5_k.h"
#include "tensor/codecs/q6_k.h"
#include "tensor/codecs/q8.h"
#include "tensor/codecs/slim.h"
#include "tensor/codecs/spqr.h"
#include "tensor/codecs/ternary.h"
#include "tensor/codecs/w8a8.h"

namespace lathe {
namespace {

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return upper(x) == upper(y); });
}

std::string names_near(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Codec* codec : all_codecs()) names.push_back(codec->name());
  std::string list;
  for (const std::string& near : nearest_names(name, names, 4)) list += (list.empty() ? "" : ", ") + near;
  return list;
}

}  // namespace

std::span<const Codec* const> all_codecs() {
  static const BlockCodec kBlocks[] = {
      BlockCodec(kF64),    BlockCodec(kF32),   BlockCodec(kF16),     BlockCodec(kBF16),  BlockCodec(kI64),
      BlockCodec(kI32),    BlockCodec(kI16),   BlockCodec(kI8),      BlockCodec(kU64),   BlockCodec(kU32),
      BlockCodec(kU16),    BlockCodec(kU8),    BlockCodec(kBool),    BlockCodec(kQ1_0),  BlockCodec(kQ2_0),
      BlockCodec(kQ4_0),   BlockCodec(kQ4_1),  BlockCodec(kQ5_0),    BlockCodec(kQ5_1),  BlockCodec(kQ8_0),
      BlockCodec(kQ8_1),   BlockCodec(kQ2_K),  BlockCodec(kQ3_K),    BlockCodec(kQ4_K),  BlockCodec(kQ5_K),
      BlockCodec(kQ6_K),   BlockCodec(kQ8_K),  BlockCodec(kIQ1_S),   BlockCodec(kIQ1_M), BlockCodec(kIQ2_XXS),
      BlockCodec(kIQ2_XS), BlockCodec(kIQ2_S), BlockCodec(kIQ3_XXS), BlockCodec(kIQ3_S), BlockCodec(kIQ4_NL),
      BlockCodec(kIQ4_XS), BlockCodec(kTQ1_0), BlockCodec(kTQ2_0),   BlockCodec(kMXFP4), BlockCodec(kNVFP4),
  };
  static const I8GroupCodec kI8Group;
  static const IntGroupCodec kIntSymmetric(IntGroupKind::kSymmetric), kIntAsymmetric(IntGroupKind::kAsymmetric),
      kBipolar(IntGroupKind::kBipolar);
  static const SpqrCodec kSpqr(false), kSpqrOrdered(true);
  static const BitmodCodec kBitmod;
  static const FdbCodec kFdb;
  static const DgqCodec kDgq;
  static const SlimCodec kSlim;
  static const BalancedCodec kBalanced;
  static const W8a8Codec kW8a8;
  static const Codec* const kOthers[] = {&kI8Group, &kIntSymmetric, &kIntAsymmetric, &kBipolar,
                                         &kSpqr,    &kSpqrOrdered,  &kBitmod,        &kFdb,
                                         &kDgq,     &kSlim,         &kBalanced,      &kW8a8};
  static const auto kAll = [] {
    std::array<const Codec*, std::size(kBlocks) + std::size(kOthers)> all;
    const auto rest = std::transform(std::begin(kBlocks), std::end(kBlocks), all.begin(),
                                     [](const BlockCodec& codec) { return &codec; });
    std::copy(std::begin(kOthers), std::end(kOthers), rest);
    return all;
  }();
  return kAll;
}

const Codec* find_codec(std::string_view name) {
  for (const Codec* codec : all_codecs()) {
    if (same_name(codec->name(), name)) return codec;
  }
  return nullptr;
}

const Codec* find_codec_by_ggml_type(int type) {
  if (type < 0) return nullptr;
  for (const Codec* codec : all_codecs()) {
    const BlockFormat* format = block_format(*codec);
    if (format != nullptr && format->ggml_type == type) return codec;
  }
  return nullptr;
}

const Codec& codec_named(std::string_view name) {
  if (const Codec* codec = find_codec(name)) return *codec;
  throw Error(fmt::format("there is no codec named \"{}\"", name.substr(0, 64)), {},
              fmt::format("the nearest names are {}", names_near(name.substr(0, 64))));
}

}  // namespace lathe
