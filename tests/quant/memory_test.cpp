// Peak memory does not depend on how many layers a model has.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "formats/model_file.h"
#include "formats/synth.h"
#include "quant/quantize_model.h"
#include "support/data.h"
#include "support/sanitized.h"

namespace lathe::quant {
namespace {

constexpr std::uint64_t kMb = 1 << 20;
// What the heap may keep of its own; 20 more layers of weights, prepared once, are 25 MB.
constexpr std::uint64_t kMargin = 16 * kMb;

// Of this process, without pages of files.
std::uint64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kilobytes = 0;
    if (word == "RssAnon:" && status >> kilobytes) return kilobytes << 10;
  }
  return 0;
}

// The most that there was while it lived, looked at every millisecond.
class PeakMemory {
 public:
  PeakMemory() = default;
  ~PeakMemory() { stop(); }
  std::uint64_t stop() {
    done_ = true;
    if (watcher_.joinable()) watcher_.join();
    return peak_;
  }

 private:
  std::uint64_t peak_ = 0;
  std::atomic<bool> done_{false};
  std::thread watcher_{[this] {
    while (!done_) {
      peak_ = std::max(peak_, anonymous_bytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }};
};

class PeakOfQuantizing : public testing::Test {
 protected:
  // Of a model with 1.25 MB of weights in each layer.
  std::uint64_t peak(const Method& method, std::uint32_t layers) {
    arch::Architecture a = formats::synth_preset("llama-tiny");
    a.n_layers = layers, a.width = 256, a.ffn_width = 512, a.n_heads = 4, a.n_kv_heads = 4;
    const std::filesystem::path in = folder_ / "in.gguf";
    formats::synthesize(a, in, {.codec = "F16"});
    const formats::ModelFile model = formats::load_model(in);
    QuantizeOptions o;
    o.method = &method;
    const Codec& codec = codec_named(method.usual_codec());
    o.target = {&codec, codec.usual_params()};
    o.calibration_source = "a text";
    for (int i = 0; i < 100; ++i) o.calibration_text += "Once upon a time there was a big dog. ";
    o.calibration = {2, 32};
    o.threads = 1;
    o.progress = false;
    PeakMemory memory;
    quantize_model(model, folder_ / "out.lathe", o);
    return memory.stop();
  }

  test::TempDir folder_;
};

TEST_F(PeakOfQuantizing, IsThatOfFewLayers) {
  if (test::kSanitized) GTEST_SKIP() << "sanitizers keep memory that was freed";
  if (anonymous_bytes() == 0) GTEST_SKIP() << "this system does not say how much memory a process has";
  for (const Method* method : {&rtn_method(), &gptq_method(), &shadow_method()}) {
    const std::uint64_t few = peak(*method, 4), many = peak(*method, 24);
    EXPECT_LT(many, few + kMargin) << method->name() << ": " << few / kMb << " MB with 4 layers, " << many / kMb
                                   << " MB with 24";
  }
}

}  // namespace
}  // namespace lathe::quant
