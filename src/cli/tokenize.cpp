// lathe tokenize: text to token ids, and ids back to text.
#include <string>

#include "base/json.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "formats/load_tokenizer.h"

namespace lathe::cli {
namespace {

Json ids_json(const std::vector<text::TokenId>& ids, const text::Tokenizer& tokenizer) {
  Json pieces = Json::array();
  for (const text::TokenId id : ids) pieces.push_back(tokenizer.piece(id));
  return {{"ids", ids}, {"pieces", std::move(pieces)}};
}

// Needs no model that Lathe can run: a vocabulary alone, or a tokenizer file, will do.
std::shared_ptr<const text::Tokenizer> tokenizer_of(const ModelArgs& model) {
  const std::filesystem::path path = find_model(model);
  if (path == kTinyModel) return load_model(model, false).tokenizer;
  return formats::load_tokenizer(model.tokenizer ? std::filesystem::path(*model.tokenizer) : path);
}

}  // namespace

int tokenize_verb(Arguments arguments) {
  ModelArgs model;
  OutputArgs output;
  std::optional<std::string> text, file, decode;
  bool no_special = false;

  Options options("tokenize", "MODEL -p TEXT | -f FILE | --decode IDS",
                  "Shows the token ids of a text, one per line with the vocabulary's spelling, or turns ids back into "
                  "text.");
  add_model_options(options, model, true);
  options.value("-p,--prompt", text, "TEXT", "the text");
  options.value("-f,--file", file, "FILE", "read the text from FILE; - reads standard input");
  options.value("--decode", decode, "IDS", "write the text of these ids (1,2,3)");
  options.flag("--no-special", no_special,
               "no BOS or EOS around the text, and control tokens spelled in it are plain text");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  if (decode && (text || file)) throw UsageError("--decode excludes -p and -f");
  const std::string name = model_name(model);
  const std::string content = decode ? std::string() : prompt_from(text, file, std::nullopt);
  const std::shared_ptr<const text::Tokenizer> held = tokenizer_of(model);
  if (held == nullptr) throw Error("the model holds no tokenizer", name, "name one with --tokenizer FILE");
  const text::Tokenizer& tokenizer = *held;

  if (decode) {
    const std::vector<text::TokenId> ids = parse_id_list(*decode, "--decode");
    const std::string decoded = tokenizer.decode(ids, {.skip_special = no_special});
    if (!output.json) {
      print_text(decoded + "\n");
      return kExitSuccess;
    }
    Json object = ids_json(ids, tokenizer);
    object["text"] = decoded;
    print_json(object);
    return kExitSuccess;
  }
  const std::vector<text::TokenId> ids =
      tokenizer.encode(content, {.add_special = !no_special, .parse_special = !no_special});
  if (output.json) {
    print_json(ids_json(ids, tokenizer));
    return kExitSuccess;
  }
  std::string table;
  for (const text::TokenId id : ids) table += fmt::format("{:>7}  {}\n", id, in_quotes(tokenizer.piece(id)));
  print_text(table);
  return kExitSuccess;
}

}  // namespace lathe::cli
