// What generates nothing: models, tokens, embeddings.
#include <bit>
#include <cstring>

#include "base/json.h"
#include "serve/openai/sampling_fields.h"
#include "serve/service.h"

namespace lathe::serve {
namespace {

constexpr std::size_t kMostTexts = 2048;

Json model_json(const Models& models, const std::string& name) {
  return {{"id", name}, {"object", "model"}, {"created", models.since()}, {"owned_by", "lathe"}};
}

std::string base64(std::string_view bytes) {
  static constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) out += j <= count ? kLetters[bits >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

// Little-endian floats, as the API's clients decode them.
std::string float_bytes(const std::vector<float>& values) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

void list_models(Service& service, const std::shared_ptr<Exchange>& exchange) {
  Json data = Json::array();
  for (const std::string& name : service.models().names()) data.push_back(model_json(service.models(), name));
  answer(exchange, {{"object", "list"}, {"data", std::move(data)}});
}

void one_model(Service& service, const std::shared_ptr<Exchange>& exchange) {
  const std::string name = exchange->request().path.substr(std::string_view("/v1/models/").size());
  for (const std::string& known : service.models().names()) {
    if (known == name) return answer(exchange, model_json(service.models(), name));
  }
  throw ApiError(404, "there is no such model", "model", "model_not_found");
}

void tokenize(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const Json body = parse_body(exchange->request().body);
    Fields fields(body);
    Lease lease = service.models().acquire(fields.text("model").value_or(""));
    auto text = fields.text("content");
    if (!text) text = fields.text("prompt");
    if (!text) throw ApiError(400, "'content' is missing", "content", "missing_required_parameter");
    const bool add_special = fields.boolean("add_special").value_or(false);
    const bool parse_special = fields.boolean("parse_special").value_or(true);
    const bool with_pieces = fields.boolean("with_pieces").value_or(false);
    fields.finish();
    const text::Tokenizer& tokenizer = lease.model->any().tokenizer();
    const auto ids = tokenizer.encode(*text, {add_special, parse_special});
    Json tokens = Json::array();
    for (const text::TokenId id : ids) {
      tokens.push_back(with_pieces ? Json{{"id", id}, {"piece", tokenizer.token_bytes(id)}} : Json(id));
    }
    lease.model.reset();
    answer(exchange, {{"tokens", std::move(tokens)}, {"count", ids.size()}});
  });
}

void detokenize(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const Json body = parse_body(exchange->request().body);
    Fields fields(body);
    Lease lease = service.models().acquire(fields.text("model").value_or(""));
    const Json* tokens = fields.array("tokens");
    if (tokens == nullptr) throw ApiError(400, "'tokens' is missing", "tokens", "missing_required_parameter");
    fields.finish();
    const text::Tokenizer& tokenizer = lease.model->any().tokenizer();
    std::string content = tokenizer.decode(token_list(*tokens, "tokens", tokenizer.size()));
    lease.model.reset();
    answer(exchange, {{"content", std::move(content)}});
  });
}

void embeddings(Service& service, const std::shared_ptr<Exchange>& exchange) {
  on_worker(exchange, [&service, exchange] {
    const Json body = parse_body(exchange->request().body);
    Fields fields(body);
    Lease lease = service.models().acquire(fields.text("model").value_or(""));
    engine::Session& session = lease.model->route(lease.adapters, {}, {});
    const Json* input = fields.any("input");
    if (input == nullptr) throw ApiError(400, "'input' is missing", "input", "missing_required_parameter");
    const Json list = input->is_array() ? *input : Json::array({*input});
    if (list.empty() || list.size() > kMostTexts)
      throw ApiError(400, "'input' must have 1 to 2048 entries", "input", "invalid_value");
    std::vector<std::string> texts;
    std::size_t tokens = 0;
    for (const Json& text : list) {
      if (!text.is_string())
        throw ApiError(400, "'input' must be a string or a list of strings", "input", "invalid_type");
      texts.push_back(text.get<std::string>());
      tokens += encode_prompt(lease, texts.back(), true).size();
    }
    const std::string encoding = fields.text("encoding_format").value_or("float");
    if (encoding != "float" && encoding != "base64")
      throw ApiError(400, "'encoding_format' must be float or base64", "encoding_format", "invalid_value");
    if (const auto dimensions = fields.integer("dimensions", 1, 1 << 24);
        dimensions && *dimensions != session.dimension())
      throw ApiError(400, fmt::format("this model's embeddings have {} dimensions", session.dimension()), "dimensions",
                     "unsupported_parameter");
    fields.ignore({"user"});
    fields.finish();
    Json data = Json::array();
    for (const auto& vector : session.embed(texts, {.normalize = true})) {
      Json value = encoding == "base64" ? Json(base64(float_bytes(vector))) : Json(vector);
      data.push_back({{"object", "embedding"}, {"index", data.size()}, {"embedding", std::move(value)}});
    }
    exchange->post([exchange, tokens, name = lease.name] {
      exchange->prompt_tokens = tokens;
      exchange->model = name;
    });
    lease.model.reset();
    answer(exchange, {{"object", "list"},
                      {"data", std::move(data)},
                      {"model", lease.name},
                      {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}});
  });
}

}  // namespace lathe::serve
