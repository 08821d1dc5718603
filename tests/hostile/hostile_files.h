// The table of hostile files: what lies in them, how they are loaded, and what the error must say.
#pragma once

#include <filesystem>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace lathe::fuzz {

enum class Load {
  kModel,      // load, prepare, generate two tokens
  kTokenizer,  // load, tokenize a text
  kTemplate,   // parse, render
};

struct HostileFile {
  std::string name;    // of the case
  std::string file;    // what is loaded, inside a fresh folder
  std::string blames;  // the file that the message must name
  std::string fault;   // and what it must say
  Load load = Load::kModel;
  std::function<void(const std::filesystem::path& folder)> write;
};

// How GoogleTest shows a case.
inline void PrintTo(const HostileFile& file, std::ostream* out) { *out << file.name; }

// In groups, so that no function is endless.
std::vector<HostileFile> hostile_gguf_headers();
std::vector<HostileFile> hostile_gguf_translators();
std::vector<HostileFile> hostile_gguf_experts();
std::vector<HostileFile> hostile_gguf_tensors();
std::vector<HostileFile> hostile_gguf_models();
std::vector<HostileFile> hostile_gguf_vocabularies();
std::vector<HostileFile> hostile_safetensors();
std::vector<HostileFile> hostile_configs();
std::vector<HostileFile> hostile_other_models();
std::vector<HostileFile> hostile_tokenizers();
std::vector<HostileFile> hostile_templates();

std::vector<HostileFile> all_hostile_files();

}  // namespace lathe::fuzz
