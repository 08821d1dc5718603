// The body of every fuzz target that loads a model: whatever loads must also be usable.
#include "base/checked.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "fuzz/guarded.h"
#include "fuzz/seeds.h"
#include "fuzz/targets.h"

namespace lathe::fuzz {
namespace {

void fuzz_model(std::string_view data) {
  static engine::Runtime runtime({.cpu = {.threads = 1}, .kv_bytes = 1 << 20});
  guarded([&] {
    const formats::ModelFile file = formats::load_model(Bytes::copy_of(data, "input"));
    const auto session = runtime.open(runtime.load(file), file.tokenizer, {.context = 16, .max_batch = 1, .chunk = 8});
    api::GenerateRequest request;
    request.max_tokens = 2;
    request.sampling.temperature = 0;
    request.logprobs = 2;
    request.prompt = "ab";
    if (file.tokenizer == nullptr) request.prompt_ids = {1, 0};
    guarded([&] { (void)session->generate(request); });
    request.prompt_ids = {1, 2, 0};
    request.sampling = {};
    guarded([&] { (void)session->generate(request); });
  });
}

}  // namespace

const Target& model_target() {
  static constexpr Target kModel{"model", fuzz_model, model_seeds};
  return kModel;
}

}  // namespace lathe::fuzz
