// Lathe for C++: the C interface (lathe.h) with ownership, exceptions and standard containers. Header-only over a
// stable binary interface; C++17 and later.
#pragma once

#include <lathe/lathe.h>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe {
inline namespace facade {

// A call failed; what() is one line that says what, where and what to do.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Stop { kLength, kEos, kString, kContext, kCancelled };

struct LoadSettings {
  std::string device = "cpu";    // "cpu", "cuda" or "cuda:N"
  int threads = 0;               // 0: every core this process may use
  unsigned context = 0;          // tokens; 0: what the model was trained for
  std::string kv_codec = "f16";  // "f16", "int8" or "f32"
  std::string tokenizer;         // a file to use instead of the model's own; empty: the model's
};

struct GenerateSettings {
  unsigned max_tokens = 128;
  float temperature = 0.8f;  // 0: always the likeliest token
  int top_k = 40;            // 0: all
  float top_p = 0.95f;       // 1: all
  float min_p = 0.05f;       // 0: none
  float repeat_penalty = 1;  // 1: none
  unsigned long seed = 0;    // the same seed gives the same text
  bool ignore_eos = false;
  std::vector<std::string> stop;  // texts that end generation
};

struct Generated {
  std::string text;
  unsigned prompt_tokens = 0, generated_tokens = 0;
  Stop stop = Stop::kLength;
  double prefill_seconds = 0, decode_seconds = 0;
};

// A loaded model. Movable; may be used by several threads at once. Every member throws ModelError on failure.
class LanguageModel {
 public:
  // A .gguf, .safetensors, .lathe or llama2.c file, or a folder in Hugging Face layout.
  explicit LanguageModel(const std::string& path, const LoadSettings& settings = {}) {
    lathe_load_options options;
    lathe_load_options_init(&options);
    options.device = settings.device.c_str();
    options.threads = settings.threads;
    options.context = settings.context;
    options.kv_codec = settings.kv_codec.c_str();
    options.tokenizer = settings.tokenizer.empty() ? nullptr : settings.tokenizer.c_str();
    model_.reset(lathe_load(path.c_str(), &options));
    if (model_ == nullptr) throw ModelError(lathe_last_error());
  }

  unsigned context() const { return lathe_context(model_.get()); }
  unsigned vocab_size() const { return lathe_vocab_size(model_.get()); }
  unsigned embedding_size() const { return lathe_embedding_size(model_.get()); }

  // With `special`, the tokens that begin and end a text are added, and control tokens spelled in it count as such.
  std::vector<int> tokenize(std::string_view text, bool special = true) const {
    std::vector<int> ids(
        static_cast<std::size_t>(check(lathe_tokenize(model_.get(), text.data(), text.size(), special, nullptr, 0))));
    check(lathe_tokenize(model_.get(), text.data(), text.size(), special, ids.data(), ids.size()));
    return ids;
  }

  std::string detokenize(const std::vector<int>& ids) const {
    std::string text(
        static_cast<std::size_t>(check(lathe_detokenize(model_.get(), ids.data(), ids.size(), nullptr, 0))), '\0');
    check(lathe_detokenize(model_.get(), ids.data(), ids.size(), text.data(), text.size()));
    return text;
  }

  // Continues `prompt`. `on_text` gets every piece as it is generated and returns false to stop; what it throws comes
  // out of generate().
  Generated generate(std::string_view prompt, const GenerateSettings& settings = {},
                     const std::function<bool(std::string_view piece)>& on_text = {}) {
    std::vector<const char*> stop;
    for (const std::string& text : settings.stop) stop.push_back(text.c_str());
    lathe_generate_options options;
    lathe_generate_options_init(&options);
    options.max_tokens = settings.max_tokens;
    options.temperature = settings.temperature;
    options.top_k = settings.top_k;
    options.top_p = settings.top_p;
    options.min_p = settings.min_p;
    options.repeat_penalty = settings.repeat_penalty;
    options.seed = settings.seed;
    options.ignore_eos = settings.ignore_eos;
    options.stop = stop.data();
    options.stop_count = stop.size();
    Sink sink{{}, &on_text, nullptr};
    lathe_generate_result result;
    const int status =
        lathe_generate(model_.get(), prompt.data(), prompt.size(), &options, &Sink::take, &sink, &result);
    if (sink.thrown) std::rethrow_exception(sink.thrown);
    check(status);
    return {std::move(sink.text),    result.prompt_tokens,
            result.generated_tokens, static_cast<Stop>(result.stop_reason),
            result.prefill_seconds,  result.decode_seconds};
  }

  // embedding_size() floats: the mean of the final hidden states.
  std::vector<float> embed(std::string_view text, bool normalize = false) {
    std::vector<float> vector(embedding_size());
    check(lathe_embed(model_.get(), text.data(), text.size(), normalize, vector.data(), vector.size()));
    return vector;
  }

 private:
  // Where the callback leaves text, and an exception that must not pass through C.
  struct Sink {
    std::string text;
    const std::function<bool(std::string_view)>* on_text;
    std::exception_ptr thrown;

    static int take(const char* piece, std::size_t bytes, void* user) {
      Sink& sink = *static_cast<Sink*>(user);
      try {
        sink.text.append(piece, bytes);
        return *sink.on_text && !(*sink.on_text)(std::string_view(piece, bytes)) ? 1 : 0;
      } catch (...) {
        sink.thrown = std::current_exception();
        return 1;
      }
    }
  };
  struct Free {
    void operator()(lathe_model* model) const { lathe_free(model); }
  };

  template <class T>
  static T check(T value) {
    if (value < 0) throw ModelError(lathe_last_error());
    return value;
  }

  std::unique_ptr<lathe_model, Free> model_;
};

}  // namespace facade
}  // namespace lathe
