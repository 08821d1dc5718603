// The C interface over a session: every entry point turns exceptions into a return value and a message of the thread.
#include <lathe/lathe.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "base/error.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "formats/model_file.h"

struct lathe_model {
  std::unique_ptr<lathe::engine::Runtime> runtime;
  std::unique_ptr<lathe::engine::Session> session;
};

namespace {

using namespace lathe;

static_assert(sizeof(int) == sizeof(text::TokenId));
static_assert(static_cast<int>(api::StopReason::kLength) == LATHE_STOP_LENGTH);
static_assert(static_cast<int>(api::StopReason::kEos) == LATHE_STOP_EOS);
static_assert(static_cast<int>(api::StopReason::kStopString) == LATHE_STOP_STRING);
static_assert(static_cast<int>(api::StopReason::kContextFull) == LATHE_STOP_CONTEXT);
static_assert(static_cast<int>(api::StopReason::kCancelled) == LATHE_STOP_CANCELLED);

constexpr const char* kOutOfMemory = "out of memory";

std::string& last_error() {
  thread_local std::string message;
  return message;
}

void remember(const char* message) noexcept {
  try {
    last_error() = message;
  } catch (...) {
    last_error().clear();
  }
}

// body()'s value, or `failure` with the message remembered.
template <class T, class Body>
T guarded(T failure, Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    remember(kOutOfMemory);
  } catch (const std::exception& error) {
    remember(error.what());
  } catch (...) {
    remember("unknown error");
  }
  return failure;
}

void need(const void* pointer, const char* name) {
  if (pointer == nullptr) throw UsageError(fmt::format("{} is NULL", name), "lathe.h");
}

std::string_view view(const char* text, size_t bytes, const char* name) {
  if (bytes > 0) need(text, name);
  return {text, bytes};
}

// The caller's options as far as it knew them, defaults beyond.
template <class Options>
Options known(const Options* given, void (*init)(Options*)) {
  Options options;
  init(&options);
  if (given == nullptr) return options;
  if (given->struct_size < sizeof(size_t) || given->struct_size > 4096) {
    throw UsageError("struct_size is not set", "lathe.h", "fill the options with their _init function first");
  }
  std::memcpy(&options, given, std::min(given->struct_size, sizeof(Options)));
  options.struct_size = sizeof(Options);
  return options;
}

kernels::KvCodec kv_codec(const char* name) {
  if (name == nullptr) return kernels::KvCodec::kF16;
  for (const auto codec : {kernels::KvCodec::kF32, kernels::KvCodec::kF16, kernels::KvCodec::kI8}) {
    if (kernels::kv_codec_name(codec) == name) return codec;
  }
  throw UsageError(fmt::format("unknown kv_codec '{}'", name), "lathe.h", "f16, int8 or f32");
}

api::GenerateRequest request_from(std::string_view prompt, const lathe_generate_options& options) {
  api::GenerateRequest request;
  request.prompt = prompt;
  request.max_tokens = options.max_tokens;
  request.ignore_eos = options.ignore_eos != 0;
  request.sampling.temperature = options.temperature;
  request.sampling.top_k = options.top_k;
  request.sampling.top_p = options.top_p;
  request.sampling.min_p = options.min_p;
  request.sampling.repeat_penalty = options.repeat_penalty;
  request.sampling.seed = options.seed;
  if (options.stop_count > 0) need(static_cast<const void*>(options.stop), "stop");
  for (const char* stop : std::span(options.stop, options.stop_count)) {
    need(stop, "a text of stop");
    request.stop.emplace_back(stop);
  }
  return request;
}

}  // namespace

const char* lathe_version(void) { return LATHE_VERSION; }
const char* lathe_last_error(void) { return last_error().c_str(); }

void lathe_load_options_init(lathe_load_options* options) {
  if (options != nullptr) *options = {sizeof(*options), "cpu", 0, 0, "f16", nullptr};
}

lathe_model* lathe_load(const char* path, const lathe_load_options* given) {
  return guarded<lathe_model*>(nullptr, [&] {
    need(path, "path");
    const lathe_load_options options = known(given, lathe_load_options_init);
    formats::LoadOptions load;
    if (options.tokenizer != nullptr) load.tokenizer = options.tokenizer;
    formats::ModelFile file = formats::load_model(std::string(path), load);
    engine::RuntimeOptions runtime;
    if (options.device != nullptr) runtime.device = options.device;
    runtime.cpu.threads = options.threads;
    engine::SessionOptions session;
    session.context = options.context;
    session.kv_codec = kv_codec(options.kv_codec);

    auto model = std::make_unique<lathe_model>();
    model->runtime = std::make_unique<engine::Runtime>(runtime);
    const auto tokenizer = file.tokenizer;
    model->session = model->runtime->open(model->runtime->load(file), tokenizer, session);
    return model.release();
  });
}

void lathe_free(lathe_model* model) { delete model; }

unsigned int lathe_context(const lathe_model* model) { return model == nullptr ? 0 : model->session->context(); }
unsigned int lathe_vocab_size(const lathe_model* model) {
  return model == nullptr ? 0 : model->session->model().architecture().vocab_size;
}
unsigned int lathe_embedding_size(const lathe_model* model) {
  return model == nullptr ? 0 : model->session->dimension();
}

long lathe_tokenize(const lathe_model* model, const char* text, size_t text_bytes, int special, int* ids,
                    size_t capacity) {
  return guarded<long>(-1, [&] {
    need(model, "model");
    if (capacity > 0) need(ids, "ids");
    const auto tokens = model->session->tokenizer().encode(
        view(text, text_bytes, "text"), {.add_special = special != 0, .parse_special = special != 0});
    std::copy_n(tokens.begin(), std::min(tokens.size(), capacity), ids);
    return narrow<long>(tokens.size(), "the number of tokens");
  });
}

long lathe_detokenize(const lathe_model* model, const int* ids, size_t count, char* text, size_t capacity) {
  return guarded<long>(-1, [&] {
    need(model, "model");
    if (count > 0) need(ids, "ids");
    if (capacity > 0) need(text, "text");
    const std::string decoded = model->session->tokenizer().decode({ids, count});
    std::copy_n(decoded.begin(), std::min(decoded.size(), capacity), text);
    return narrow<long>(decoded.size(), "the length of the text");
  });
}

void lathe_generate_options_init(lathe_generate_options* options) {
  if (options == nullptr) return;
  const api::GenerateRequest usual;
  const api::SamplingParams& sampling = usual.sampling;
  *options = {sizeof(*options),
              usual.max_tokens,
              sampling.temperature,
              sampling.top_k,
              sampling.top_p,
              sampling.min_p,
              sampling.repeat_penalty,
              0,
              0,
              nullptr,
              0};
}

int lathe_generate(lathe_model* model, const char* prompt, size_t prompt_bytes, const lathe_generate_options* given,
                   lathe_text_callback on_text, void* user, lathe_generate_result* result) {
  return guarded(-1, [&] {
    need(model, "model");
    const lathe_generate_options options = known(given, lathe_generate_options_init);
    const api::GenerateRequest request = request_from(view(prompt, prompt_bytes, "prompt"), options);
    const api::GenerateResult generated = model->session->generate(request, [&](std::string_view piece) {
      return on_text == nullptr || on_text(piece.data(), piece.size(), user) == 0;
    });
    if (result != nullptr) {
      *result = {narrow<unsigned int>(generated.prompt_ids.size(), "the number of tokens"),
                 narrow<unsigned int>(generated.tokens.size(), "the number of tokens"),
                 static_cast<int>(generated.stop_reason), generated.prefill_seconds, generated.decode_seconds};
    }
    return 0;
  });
}

int lathe_embed(lathe_model* model, const char* text, size_t text_bytes, int normalize, float* vector,
                size_t capacity) {
  return guarded(-1, [&] {
    need(model, "model");
    need(vector, "vector");
    if (capacity < model->session->dimension()) {
      throw UsageError(
          fmt::format("vector has room for {} floats, {} are needed", capacity, model->session->dimension()),
          "lathe_embed");
    }
    const std::string copy(view(text, text_bytes, "text"));
    const auto vectors =
        model->session->embed({&copy, 1}, {.pooling = api::Pooling::kMean, .normalize = normalize != 0});
    std::copy(vectors.front().begin(), vectors.front().end(), vector);
    return 0;
  });
}
