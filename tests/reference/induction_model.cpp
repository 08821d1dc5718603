#include "reference/induction_model.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>

namespace lathe::test {
namespace {

// The residual stream: the token's code, the code of the token before it, the code to say next, and a few numbers.
constexpr std::uint32_t kCode = 128, kToken = 0, kBefore = kCode, kSay = 2 * kCode, kFiller = 3 * kCode,
                        kOne = 4 * kCode, kNamed = kOne + 1, kNamedBefore = kOne + 2, kWidth = kOne + 16;
constexpr std::uint32_t kHead = 2 * kCode, kPairs = kCode;  // pair i of a head: elements i and i + kPairs
constexpr std::uint32_t kSlow = kPairs / 2;                 // pairs from here on turn too slowly to matter in a window

class Matrix {
 public:
  Matrix(std::uint64_t rows, std::uint64_t cols) : cols_(cols), values_(rows * cols) {}
  float& at(std::uint64_t row, std::uint64_t col) { return values_[row * cols_ + col]; }
  std::vector<float> take() { return std::move(values_); }

 private:
  std::uint64_t cols_;
  std::vector<float> values_;
};

// Element of a head that holds number i of a code, in the slow pairs.
std::uint32_t slow(std::uint32_t i) { return i < kCode / 2 ? kSlow + i : kPairs + kSlow + (i - kCode / 2); }

}  // namespace

TinyModel make_induction_model(std::uint32_t vocab, std::uint32_t context) {
  arch::Architecture a = tiny_llama();
  a.width = kWidth;
  a.n_heads = a.n_kv_heads = 1;
  a.head_dim = a.v_head_dim = a.rotary_dim = kHead;
  a.ffn_width = 16;
  a.vocab_size = vocab;
  a.context_length = context;
  a.rope_theta = 1e6f;
  a.attention_scale = 1;

  std::mt19937_64 random(7);
  std::vector<std::vector<float>> codes(vocab, std::vector<float>(kCode));
  for (auto& code : codes) {
    for (float& value : code) value = (random() % 2 == 0 ? 1.0f : -1.0f) / std::sqrt(float{kCode});
  }
  Matrix embed(vocab, kWidth), head(vocab, kWidth);
  for (std::uint32_t t = 0; t < vocab; ++t) {
    const bool filler = t < static_cast<std::uint32_t>(kFillers);
    for (std::uint32_t i = 0; i < kCode; ++i) {
      embed.at(t, (filler ? kFiller : kToken) + i) = codes[t][i];
      if (!filler) head.at(t, kSay + i) = 20 * codes[t][i];
    }
    embed.at(t, kOne) = 1;
    embed.at(t, kNamed) = filler ? -1 : 1;
  }
  const auto identity = [](float gain) { return std::vector<float>(kWidth, gain); };
  const auto root = [](double square) { return static_cast<float>(std::sqrt(square / kWidth)); };

  // Layer 0: look at the token before. The score at distance d is the sum over the fast pairs of cos(theta_i (d - 1)).
  Matrix q0(kHead, kWidth), k0(kHead, kWidth), v0(kHead, kWidth), o0(kWidth, kHead);
  constexpr float kSharp = 4;
  for (std::uint32_t i = 0; i < kSlow; ++i) {
    const double theta = std::pow(double{a.rope_theta}, -2.0 * i / kHead);
    q0.at(i, kOne) = kSharp * static_cast<float>(std::cos(theta));
    q0.at(i + kPairs, kOne) = -kSharp * static_cast<float>(std::sin(theta));
    k0.at(i, kOne) = kSharp;
  }
  for (std::uint32_t i = 0; i < kCode; ++i) v0.at(i, kToken + i) = 1, o0.at(kBefore + i, i) = 1;
  v0.at(kCode, kNamed) = 1, o0.at(kNamedBefore, kCode) = 1;

  // Layer 1: look at what followed the token at hand before, or else at what followed any token with a code.
  Matrix q1(kHead, kWidth), k1(kHead, kWidth), v1(kHead, kWidth), o1(kWidth, kHead);
  constexpr float kMatch = 5.5f, kNoted = 0.7f;
  for (std::uint32_t i = 0; i < kCode; ++i) {
    q1.at(slow(i), kToken + i) = kMatch, k1.at(slow(i), kBefore + i) = kMatch;
    v1.at(i, kToken + i) = 1, o1.at(kSay + i, i) = 1;
  }
  q1.at(kSlow - 1, kOne) = kNoted, k1.at(kSlow - 1, kNamedBefore) = kNoted;

  TinyModel tiny{a, {}, {}};
  for (const arch::WeightSpec& spec : arch::weight_schema(a)) {
    const auto is = [&](std::string_view name) { return spec.name == std::string(name) + ".weight"; };
    std::vector<float> values(spec.shape.elements(), 0.0f);
    if (is("token_embd")) values = embed.take();
    if (is("output")) values = head.take();
    if (is("blk.0.attn_q")) values = q0.take();
    if (is("blk.0.attn_k")) values = k0.take();
    if (is("blk.0.attn_v")) values = v0.take();
    if (is("blk.0.attn_output")) values = o0.take();
    if (is("blk.1.attn_q")) values = q1.take();
    if (is("blk.1.attn_k")) values = k1.take();
    if (is("blk.1.attn_v")) values = v1.take();
    if (is("blk.1.attn_output")) values = o1.take();
    // Norms that give the stream back as it is: the squares of what a token brings, and of what layer 0 adds.
    if (is("blk.0.attn_norm")) values = identity(root(3));
    if (is("blk.1.attn_norm")) values = identity(root(4));
    if (is("blk.0.ffn_norm") || is("blk.1.ffn_norm") || is("output_norm")) values = identity(1);
    tiny.weights.add(pack(spec.name, codec_named("F32"), spec.shape, values));
  }
  tiny.decoded = decode(tiny.weights);
  return tiny;
}

PasskeyText make_passkey_text(std::size_t length, std::size_t distractors, double depth, std::uint32_t vocab,
                              std::uint64_t seed) {
  std::mt19937_64 random(seed);
  PasskeyText text;
  for (std::size_t i = 0; i < length; ++i) text.ids.push_back(static_cast<std::int32_t>(random() % kFillers));
  std::vector<std::int32_t> named;
  for (std::int32_t id = kFillers; id < static_cast<std::int32_t>(vocab); ++id) named.push_back(id);
  std::shuffle(named.begin(), named.end(), random);
  constexpr std::size_t kPhrase = 1 + PasskeyText::kValueTokens;
  distractors = std::min(distractors, named.size() / kPhrase - 1);
  // Phrases stand in cells of twice their length, so that none overlaps another.
  const std::size_t cells = length / (2 * kPhrase);
  std::set<std::size_t> taken = {static_cast<std::size_t>(depth * static_cast<double>(cells - 1))};
  const std::size_t asked = *taken.begin();
  while (taken.size() < std::min(distractors + 1, cells / 2)) taken.insert(random() % (cells - 1));
  std::int32_t key = 0;
  for (const std::size_t cell : taken) {
    const std::vector<std::int32_t> phrase(named.end() - kPhrase, named.end());
    named.resize(named.size() - kPhrase);
    std::copy(phrase.begin(), phrase.end(), text.ids.begin() + static_cast<std::ptrdiff_t>(cell * 2 * kPhrase));
    if (cell == asked) key = phrase.front(), text.answer.assign(phrase.begin() + 1, phrase.end());
  }
  text.ids.push_back(key);
  return text;
}

}  // namespace lathe::test
