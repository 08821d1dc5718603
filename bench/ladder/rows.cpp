// What is done to single rows between the products, which the cache holds: norms, rotary positions, activations.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "kernels/cpu/kernels.h"
#include "ladder/ladder.h"

namespace lathe::kernels::ladder {
namespace {

constexpr std::size_t kWidth = 4096;

Work row_work(std::size_t arrays, double operations) {
  return {static_cast<double>(arrays * kWidth * sizeof(float)), operations * static_cast<double>(kWidth)};
}

// `step` with every set of kernels.
template <class Step>
void shipped(Ladder& ladder, const Step& step) {
  for (const std::string& name : kernel_sets()) {
    const cpu::KernelSet set = cpu::select_kernels(name);
    ladder.rung(fmt::format("Lathe's kernel, {}", name), kExact, [&](std::size_t) { step(set); });
  }
}

using Dot = float (*)(const float*, const float*, std::size_t);

void rms_norm(std::vector<float>& out, const std::vector<float>& x, const std::vector<float>& weight, float eps,
              Dot dot) {
  const float inverse = 1 / std::sqrt(dot(x.data(), x.data(), kWidth) / kWidth + eps);
  for (std::size_t i = 0; i < kWidth; ++i) out[i] = x[i] * inverse * weight[i];
}

void layer_norm(std::vector<float>& out, const std::vector<float>& x, const std::vector<float>& weight,
                const std::vector<float>& bias, float eps, Dot dot) {
  static const std::vector<float> kOnes(kWidth, 1.0f);
  const float mean = dot(x.data(), kOnes.data(), kWidth) / kWidth;
  for (std::size_t i = 0; i < kWidth; ++i) out[i] = x[i] - mean;
  const float inverse = 1 / std::sqrt(dot(out.data(), out.data(), kWidth) / kWidth + eps);
  for (std::size_t i = 0; i < kWidth; ++i) out[i] = out[i] * inverse * weight[i] + bias[i];
}

// exp(x) for x between -87 and 87: 2^n times a polynomial in the rest, without a branch or a call, so that
// compilers can make vectors of the loop around it (Cody and Waite 1980 for the rest in two steps; Taylor's
// coefficients).
inline float plain_exp(float x) {
  constexpr float kRound = 0x1.8p23f;  // beside it a float has no room for a fraction
  const float n = x * std::numbers::log2e_v<float> + kRound - kRound;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  const float p = 1 + r * (1 + r * (1 / 2.0f + r * (1 / 6.0f + r * (1 / 24.0f + r * (1 / 120.0f + r * (1 / 720.0f))))));
  return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

inline float libm_silu(float x) { return x / (1 + std::exp(-x)); }
inline float plain_silu(float x) { return x / (1 + plain_exp(-x)); }
// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)), u as in Hendrycks and Gimpel 2016
inline float gelu_argument(float x) { return std::sqrt(2 / std::numbers::pi_v<float>) * (x + 0.044715f * x * x * x); }
inline float libm_gelu_tanh(float x) { return 0.5f * x * (1 + std::tanh(gelu_argument(x))); }
inline float plain_gelu_tanh(float x) { return x / (1 + plain_exp(-2 * gelu_argument(x))); }

template <float (*kFunction)(float)>
void map(std::vector<float>& out, const std::vector<float>& x) {
  for (std::size_t i = 0; i < kWidth; ++i) out[i] = kFunction(x[i]);
}

void activation_ladder(const Options& options, std::string_view name, ActivationKind kind,
                       void (*libm)(std::vector<float>&, const std::vector<float>&),
                       void (*plain)(std::vector<float>&, const std::vector<float>&)) {
  const std::string title = fmt::format("{} of {}", name, kWidth);
  if (!options.wants(title)) return;
  const std::vector<float> x = random_floats(kWidth, 5);
  std::vector<float> expected(kWidth);
  cpu::select_kernels("scalar").elementwise->activate(kind, expected.data(), x.data(), kWidth);
  Ladder ladder(options, title, row_work(2, 1), expected);
  std::vector<float>& out = ladder.result();
  ladder.rung("a call of the C library for each", kExact, [&](std::size_t) { libm(out, x); });
  ladder.rung("a polynomial, plainly", kExact, [&](std::size_t) { plain(out, x); });
  shipped(ladder, [&](const cpu::KernelSet& set) { set.elementwise->activate(kind, out.data(), x.data(), kWidth); });
}

constexpr std::size_t kHeadWidth = 128, kFrequencies = kHeadWidth / 2, kPosition = 1000;

float angle(std::size_t i) {
  return kPosition * std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(kFrequencies));
}

void rotate(float* head, const float* cosines, const float* sines, RopeLayout layout) {
  for (std::size_t i = 0; i < kFrequencies; ++i) {
    float& a = layout == RopeLayout::kInterleaved ? head[2 * i] : head[i];
    float& b = layout == RopeLayout::kInterleaved ? head[2 * i + 1] : head[i + kFrequencies];
    const float x = a, y = b;
    a = x * cosines[i] - y * sines[i];
    b = x * sines[i] + y * cosines[i];
  }
}

void rope_ladder(const Options& options, std::string_view name, RopeLayout layout) {
  const std::string title = fmt::format("RoPE, {}, {} heads of {}", name, kWidth / kHeadWidth, kHeadWidth);
  if (!options.wants(title)) return;
  const std::vector<float> x = random_floats(kWidth, 6);
  std::vector<float> cosines(kFrequencies), sines(kFrequencies), expected = x;
  const auto fill_table = [&] {
    for (std::size_t i = 0; i < kFrequencies; ++i) cosines[i] = std::cos(angle(i)), sines[i] = std::sin(angle(i));
  };
  fill_table();
  const auto heads = [](std::vector<float>& row, const auto& turn) {
    for (std::size_t at = 0; at < kWidth; at += kHeadWidth) turn(&row[at]);
  };
  const cpu::KernelSet scalar = cpu::select_kernels("scalar");
  heads(expected, [&](float* head) { scalar.rope->rotate(head, cosines.data(), sines.data(), kFrequencies, layout); });
  Ladder ladder(options, title, row_work(2, 3), expected);
  std::vector<float>& out = ladder.result();
  ladder.rung("angles by the C library for each head", kExact, [&](std::size_t) {
    std::copy(x.begin(), x.end(), out.begin());
    heads(out, [&](float* head) { fill_table(), rotate(head, cosines.data(), sines.data(), layout); });
  });
  ladder.rung("angles once for all heads", kExact, [&](std::size_t) {
    std::copy(x.begin(), x.end(), out.begin());
    fill_table();
    heads(out, [&](float* head) { rotate(head, cosines.data(), sines.data(), layout); });
  });
  ladder.rung("angles from a table, as all layers share it", kExact, [&](std::size_t) {
    std::copy(x.begin(), x.end(), out.begin());
    heads(out, [&](float* head) { rotate(head, cosines.data(), sines.data(), layout); });
  });
  shipped(ladder, [&](const cpu::KernelSet& set) {
    std::copy(x.begin(), x.end(), out.begin());
    heads(out, [&](float* head) { set.rope->rotate(head, cosines.data(), sines.data(), kFrequencies, layout); });
  });
}

}  // namespace

void norm_ladders(const Options& options) {
  const std::vector<float> x = random_floats(kWidth, 7), weight = random_floats(kWidth, 8),
                           bias = random_floats(kWidth, 9);
  constexpr float kEps = 1e-5f;
  const cpu::KernelSet scalar = cpu::select_kernels("scalar");
  std::vector<float> expected(kWidth);
  if (const std::string title = fmt::format("RMS norm of {}", kWidth); options.wants(title)) {
    scalar.norm->rms(expected.data(), x.data(), weight.data(), nullptr, kWidth, kEps);
    Ladder ladder(options, title, row_work(3, 4), expected);
    std::vector<float>& out = ladder.result();
    ladder.rung("one sum", kExact, [&](std::size_t) { rms_norm(out, x, weight, kEps, plain_dot); });
    ladder.rung("sixteen sums", kExact, [&](std::size_t) { rms_norm(out, x, weight, kEps, lanes_dot); });
    shipped(ladder, [&](const cpu::KernelSet& set) {
      set.norm->rms(out.data(), x.data(), weight.data(), nullptr, kWidth, kEps);
    });
  }
  if (const std::string title = fmt::format("layer norm of {}", kWidth); options.wants(title)) {
    scalar.norm->layer(expected.data(), x.data(), weight.data(), bias.data(), kWidth, kEps);
    Ladder ladder(options, title, row_work(4, 7), expected);
    std::vector<float>& out = ladder.result();
    ladder.rung("one sum", kExact, [&](std::size_t) { layer_norm(out, x, weight, bias, kEps, plain_dot); });
    ladder.rung("sixteen sums", kExact, [&](std::size_t) { layer_norm(out, x, weight, bias, kEps, lanes_dot); });
    shipped(ladder, [&](const cpu::KernelSet& set) {
      set.norm->layer(out.data(), x.data(), weight.data(), bias.data(), kWidth, kEps);
    });
  }
}

void rope_ladders(const Options& options) {
  rope_ladder(options, "neighbours rotate", RopeLayout::kInterleaved);
  rope_ladder(options, "halves rotate", RopeLayout::kHalves);
}

void activation_ladders(const Options& options) {
  activation_ladder(options, "SiLU", ActivationKind::kSilu, map<libm_silu>, map<plain_silu>);
  activation_ladder(options, "GELU by tanh", ActivationKind::kGeluTanh, map<libm_gelu_tanh>, map<plain_gelu_tanh>);
}

}  // namespace lathe::kernels::ladder
