// Writes the copying model of tests/reference as a file that the program opens: write_induction_model OUT. Its words
// are w0, w1, ..., by id.
#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <string>

#include "base/file.h"
#include "formats/model_file.h"
#include "formats/tokenizer_plain.h"
#include "reference/induction_model.h"
#include "text/tokenizer_spec.h"

int main(int argc, char** argv) try {
  using namespace lathe;
  if (argc != 2) throw Error("give the file to write", "write_induction_model");
  test::TinyModel tiny = test::make_induction_model();
  std::string words;
  for (std::uint32_t id = 0; id < tiny.architecture.vocab_size; ++id)
    words += fmt::format("{}\"w{}\":{}", id == 0 ? "{" : ",", id, id);
  formats::ModelFile file;
  file.architecture = tiny.architecture;
  file.weights = std::move(tiny.weights);
  text::TokenizerSpec spec = formats::parse_word_map(Bytes::copy_of(words + "}", "the words"));
  file.tokenizer_spec = std::make_shared<text::TokenizerSpec>(spec);
  file.tokenizer = text::make_tokenizer(std::move(spec));
  formats::save_model(file, argv[1]);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
