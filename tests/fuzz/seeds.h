// Small valid inputs for each fuzz target, made on the spot so that no binary files need to be kept.
#pragma once

#include <string>
#include <vector>

namespace lathe::fuzz {

std::vector<std::string> gguf_seeds();
std::vector<std::string> gguf_tokenizer_seeds();
std::vector<std::string> safetensors_seeds();
std::vector<std::string> lathe_seeds();
std::vector<std::string> llama2c_seeds();
std::vector<std::string> ctranslate2_seeds();
std::vector<std::string> json_tensors_seeds();
std::vector<std::string> adapter_seeds();
std::vector<std::string> config_seeds();
std::vector<std::string> tokenizer_json_seeds();
std::vector<std::string> sentencepiece_seeds();
std::vector<std::string> tiktoken_seeds();
std::vector<std::string> llama2c_tokenizer_seeds();
std::vector<std::string> rwkv_seeds();
std::vector<std::string> chat_template_seeds();
std::vector<std::string> grammar_seeds();
std::vector<std::string> json_schema_seeds();
std::vector<std::string> url_seeds();
std::vector<std::string> model_seeds();
std::vector<std::string> prefixes_seeds();
// Requests to the server.
std::vector<std::string> serve_seeds();

}  // namespace lathe::fuzz
