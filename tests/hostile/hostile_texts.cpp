// Tokenizer files and chat templates.
#include "base/file.h"
#include "fuzz/raw_files.h"
#include "fuzz/seeds.h"
#include "hostile/hostile_files.h"

namespace lathe::fuzz {
namespace {

HostileFile tokenizer(std::string name, std::string file, std::string fault, std::string content) {
  return {std::move(name),
          file,
          file,
          std::move(fault),
          Load::kTokenizer,
          [content = std::move(content), file](const auto& folder) { write_file(folder / file, content); }};
}

HostileFile json(std::string name, std::string fault, std::string content) {
  return tokenizer(std::move(name), "tokenizer.json", std::move(fault), std::move(content));
}

// A small BPE tokenizer with these further members.
std::string bpe(std::string_view members, std::string_view vocab = R"("a":0,"b":1,"ab":2)",
                std::string_view merges = R"("a b")") {
  return R"({"model":{"type":"BPE","vocab":{)" + std::string(vocab) + R"(},"merges":[)" + std::string(merges) + "]}" +
         (members.empty() ? "" : ",") + std::string(members) + "}";
}

std::string unigram(std::string_view vocab, std::string_view more = {}) {
  return R"({"model":{"type":"Unigram","vocab":[)" + std::string(vocab) + "]" + std::string(more) + "}}";
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

std::string split_by(std::string_view regex) {
  return bpe(R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":")" + std::string(regex) +
             R"("},"behavior":"Isolated"})");
}

HostileFile chat(std::string name, std::string fault, std::string source) {
  return {
      std::move(name), "chat.jinja",
      "chat.jinja",    std::move(fault),
      Load::kTemplate, [source = std::move(source)](const auto& folder) { write_file(folder / "chat.jinja", source); }};
}

}  // namespace

std::vector<HostileFile> hostile_tokenizers() {
  std::string skipping, added, twins = R"("a":0)";
  for (int i = 0; i < 300; ++i) skipping += base64("t" + std::to_string(i)) + " " + std::to_string(i * 60'000) + "\n";
  for (int i = 1; i < 300; ++i) {
    added += (i > 1 ? "," : "") + std::string(R"({"content":"x)") + std::to_string(i) + R"(","id":)" +
             std::to_string(i * 900'000) + "}";
  }
  const std::string spm = raw_sentencepiece();
  return {
      json("cut off", "invalid JSON", tokenizer_json_seeds()[0].substr(0, 300)),
      json("no tokenizer", "tokenizer", R"({"added_tokens":[],"model":null})"),
      json("nested 100000 deep", "nested deeper", "{\"a\":" + std::string(100'000, '[')),
      json("normalizers nested 100000 deep", "nested deeper",
           bpe("\"normalizer\":" + repeated(R"({"type":"Sequence","normalizers":[)", 100'000))),
      json("an id of 2^40", "has id 1099511627776", bpe("", R"("a":1099511627776)", "")),
      json("an id of 2^63", "has id 9223372036854775807", bpe("", R"("a":9223372036854775808)", "")),
      json("an id of -1", "model.vocab", bpe("", R"("a":-1)", "")),
      json("a fractional id", "model.vocab", bpe("", R"("a":0.5)", "")),
      json("an id twice", "have id 0", bpe("", R"("a":0,"b":0)", "")),
      json("a piece twice", "are both spelled", bpe("", R"("a":0,"\u0061":1)", "")),
      json("vocabulary of numbers", "model.vocab", R"({"model":{"type":"BPE","vocab":[1,2]}})"),
      json("no vocabulary", "vocabulary is empty", bpe("", "", "")),
      json("a merge of strangers", "not in the vocabulary", bpe("", R"("a":0)", R"("q q")")),
      json("cyclic merges", "not in the vocabulary",
           bpe("", R"("a":0,"b":1,"ab":2,"ba":3)", R"("a b","b a","ab a","ba b")")),
      json("a merge of one", "not two pieces", bpe("", R"("a":0)", R"("a")")),
      json("a merge of three", "model.merges", bpe("", R"("a":0)", R"(["a","a","a"])")),
      json("merges of numbers", "model.merges", bpe("", R"("a":0)", "1,2")),
      json("a score beyond floats", "score of token 0", unigram(R"(["a",-1e300])")),
      json("a score beyond doubles", "invalid JSON", unigram(R"(["a",1e999])")),
      json("a score of text", "model.vocab", unigram(R"(["a","-1"])")),
      json("unknown id out of range", "unk_id is 7", unigram(R"(["a",-1])", R"(,"unk_id":7)")),
      json("an unknown model", "\"Abacus\"", R"({"model":{"type":"Abacus","vocab":{"a":0}}})"),
      json("an unknown normalizer", "\"Iron\"", bpe(R"("normalizer":{"type":"Iron"})")),
      json("an unknown decoder", "\"Ring\"", bpe(R"("decoder":{"type":"Ring"})")),
      json("an added id of 2^62", "has id 4611686018427387904",
           bpe(R"("added_tokens":[{"id":4611686018427387904,"content":"x"}])")),
      json("an added id of -5", "has id -5", bpe(R"("added_tokens":[{"id":-5,"content":"x"}])")),
      json("added ids far apart", "ids unused", bpe("\"added_tokens\":[" + added + "]")),
      json("an added token of 100 kB", "is spelled with 100000 bytes",
           bpe(R"("added_tokens":[{"id":3,"content":")" + std::string(100'000, 'x') + "\"}]")),
      json(
          "a template's id out of range", "has id 99",
          bpe(R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{"x":{"ids":[99]}}})")),
      json(
          "a template's id beyond 32 bits", "out of range",
          bpe(R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{"x":{"ids":[4294967296]}}})")),
      json(
          "a template's token undefined", "does not define",
          bpe(R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{}})")),
      json("an invalid regular expression", "invalid regular expression", split_by("(a")),
      json("a catastrophic regular expression", "gave up", split_by("(a+)+$|((a*)*)*b(?=c)")),
      json("nested catastrophic repetition", "gave up", split_by("^(([a-z])+.)+[A-Z]([a-z])+$")),
      json("a regular expression of 70 kB", "too long", split_by(std::string(70'000, 'a'))),
      json("a regular expression that is too large", "regular expression",
           split_by("(((a{60000}){60000}){60000}){60000}")),
      json("a regular expression nested 10000 deep", "regular expression",
           split_by(std::string(10'000, '(') + "a" + std::string(10'000, ')'))),
      json("a normalizer that swells", "the normalizer makes more than",
           bpe(R"("normalizer":{"type":"Replace","pattern":{"String":"a"},"content":")" + std::string(500'000, 'a') +
               "\"}")),
      json("a normalizer that doubles 60 times", "the normalizer makes more than",
           bpe("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" +
               repeated(R"({"type":"Replace","pattern":{"Regex":"a"},"content":"aa"},)", 60) + R"({"type":"NFC"}]})")),
      json("a character map that is no base64", "base64",
           bpe(R"("normalizer":{"type":"Precompiled","precompiled_charsmap":"?"})")),
      json("a character map of garbage", "character map",
           bpe(R"("normalizer":{"type":"Precompiled","precompiled_charsmap":"/////////////w=="})")),
      json("pieces of no characters", "tokenizer.json", bpe(R"("pre_tokenizer":{"type":"FixedLength","length":0})")),
      tokenizer("SentencePiece cut off", "tokenizer.model", "cut off", spm.substr(0, 50)),
      tokenizer("SentencePiece field of 2^60 bytes", "tokenizer.model", "a field of 1152921504606846976 bytes",
                "\n" + proto_varint(std::uint64_t{1} << 60) + std::string(9, 'x')),
      tokenizer("SentencePiece number of 80 bits", "tokenizer.model", "more than 64 bits",
                "\n" + std::string(12, '\xff') + "xxx"),
      tokenizer("SentencePiece with a NaN score", "tokenizer.model", "not a finite number",
                spm + sentencepiece_piece("q", __builtin_nanf(""))),
      tokenizer("SentencePiece with an infinite score", "tokenizer.model", "not a finite number",
                spm + sentencepiece_piece("q", -__builtin_inff())),
      tokenizer("SentencePiece with a piece of type 9", "tokenizer.model", "unknown type 9",
                spm + sentencepiece_piece("q", 0, 9)),
      tokenizer("SentencePiece with a piece twice", "tokenizer.model", "are both spelled",
                spm + sentencepiece_piece("a", 0)),
      tokenizer("SentencePiece of an unknown model", "tokenizer.model", "unknown SentencePiece model type 7",
                spm + proto_field(2, proto_field(3, std::uint64_t{7}))),
      tokenizer("SentencePiece with a character map of garbage", "tokenizer.model", "character map",
                spm + proto_field(3, proto_field(2, std::string(64, '\xff')))),
      tokenizer("rank file with broken base64", "ranks.tiktoken", "line 2", base64("a") + " 0\n??? 1\n"),
      tokenizer("rank file out of order", "ranks.tiktoken", "out of order",
                base64("a") + " 5\n" + base64("b") + " 3\n"),
      tokenizer("rank file with rank 2^40", "ranks.tiktoken", "out of order", base64("a") + " 1099511627776\n"),
      tokenizer("rank file with rank 2^70", "ranks.tiktoken", "line 2",
                base64("b") + " 0\n" + base64("a") + " 1180591620717411303424\n"),
      tokenizer("rank file that skips millions", "ranks.tiktoken", "out of order", skipping),
      tokenizer("rank file of no known model", "ranks.tiktoken", "cannot tell which model", base64("a") + " 0\n"),
      tokenizer("llama2.c tokenizer of length 0", "tok.bin", "longest token of 0 bytes", std::string(32, '\0')),
      tokenizer("llama2.c tokenizer with a length of -1", "tok.bin", "token 0 has -1 bytes",
                raw(std::int32_t{8}) + raw(0.0f) + raw(std::int32_t{-1})),
      tokenizer("llama2.c tokenizer with a length of 2^31-1", "tok.bin", "token 0 has 2147483647 bytes",
                raw(std::int32_t{8}) + raw(0.0f) + raw(std::int32_t{0x7fffffff})),
      tokenizer("llama2.c tokenizer cut off", "tok.bin", "the file is truncated",
                llama2c_tokenizer_seeds()[0].substr(0, 40)),
      tokenizer("llama2.c tokenizer with a NaN score", "tok.bin", "not a finite number",
                raw(std::int32_t{8}) + repeated(raw(__builtin_nanf("")) + raw(std::int32_t{1}) + "a", 3)),
      tokenizer("RWKV vocabulary with a broken escape", "vocab.txt", "vocab.txt", "1 '\\xq0' 1\n"),
      tokenizer("RWKV vocabulary of another length", "vocab.txt", "vocab.txt", "1 'a' 2\n"),
      tokenizer("RWKV vocabulary with id 2^40", "vocab.txt", "vocab.txt", "1 'a' 1\n1099511627776 'b' 1\n"),
      tokenizer("RWKV vocabulary cut off", "vocab.txt", "vocab.txt", "1 'a' 1\n2 'b"),
  };
}

std::vector<HostileFile> hostile_templates() {
  return {
      chat("an endless loop", "does not come to an end",
           "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
      chat("a huge range", "more than 100000 items", "{% for a in range(1152921504606846976) %}{% endfor %}"),
      chat("a huge text", "grows beyond", "{{ 'x' * 1152921504606846976 }}"),
      chat("a text that doubles", "grows beyond",
           "{% set ns = namespace(s='xy') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"),
      chat("a list that doubles", "the template",
           "{% set l = [1] %}{% for a in range(99) %}{% set _ = l.extend(l) %}{% endfor %}"),
      chat("much memory", "memory",
           "{% set l = [] %}{% for i in range(99999) %}{% set _ = l.append('x' * 1000000 ~ i) %}{% endfor %}"),
      chat("brackets 100000 deep", "line 1, column", "{{ " + std::string(100'000, '(') + " }}"),
      chat("blocks 100000 deep", "nested", repeated("{% if 1 %}", 100'000)),
      chat("a macro that calls itself", "recurses too deeply", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
      chat("a list inside itself", "nested deeper", "{% set l = [] %}{% set _ = l.append(l) %}{{ l }}"),
      chat("a block without end", "line 1", "{% if true %}"),
      chat("an end without block", "line 2", "\n{% endif %}"),
      chat("an unknown filter", "'launder'", "{{ 1 | launder }}"),
      chat("an expression cut off", "line 1, column", "{{ 1 +"),
      chat("a string without end", "line 1, column", "{{ 'a }}"),
      chat("an integer beyond 64 bits", "line 1", "{{ 9223372036854775807 + 1 }}{{ 99999999999999999999 }}"),
      chat("division by zero", "line 1, column", "{{ 1 // 0 }}"),
      chat("a power beyond numbers", "line 1, column", "{{ 10 ** 10 ** 10 }}"),
      chat("a width beyond memory", "grows beyond", "{{ '%999999999d' % 1 }}"),
      chat("bytes that are no text", "chat.jinja", "{{ '\xff\xfe' | nonsense }}\xff"),
      chat("an exception of its own", "no thanks", "{{ raise_exception('no thanks') }}"),
  };
}

std::vector<HostileFile> all_hostile_files() {
  std::vector<HostileFile> all;
  for (const auto& group :
       {hostile_gguf_headers(), hostile_gguf_translators(), hostile_gguf_experts(), hostile_gguf_tensors(),
        hostile_gguf_models(), hostile_gguf_vocabularies(), hostile_safetensors(), hostile_configs(),
        hostile_other_models(), hostile_tokenizers(), hostile_templates()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

}  // namespace lathe::fuzz
