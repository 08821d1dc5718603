// The options of one verb: declared once, they give the parser, the help text with every default, and the suggestions
// for mistyped names. Only options.cpp includes the command-line library.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::cli {

using Arguments = std::span<const std::string>;

// An option or positional as a shell that completes command lines needs to know it.
struct OptionInfo {
  std::vector<std::string> names;  // "-n", "--tokens"; of a positional its name
  std::string metavar, help;
  std::vector<std::string> words;  // the only values there are, where there are few
  bool positional = false, flag = false, repeats = false;
};

// What a verb declares, in order; the verb does nothing else.
std::vector<OptionInfo> options_of(int (*verb)(Arguments arguments));

class Options {
 public:
  // `usage` is what follows the verb ("[MODEL] -p TEXT [options]"); `summary` says what the verb does.
  Options(std::string verb, std::string usage, std::string summary);

  // A word without a dash, in the order of declaration.
  void positional(std::string name, std::string& target, std::string help, bool required);

  // Every word without a dash that is left.
  void positionals(std::string name, std::vector<std::string>& target, std::string help);

  // `names` is "-n,--tokens" or "--json". The target's value when declared is the default that help shows. Numbers that
  // do not parse whole or lie outside the target's type are usage errors.
  void flag(std::string names, bool& target, std::string help);
  void value(std::string names, std::string& target, std::string metavar, std::string help);
  void value(std::string names, int& target, std::string metavar, std::string help);
  void value(std::string names, std::uint32_t& target, std::string metavar, std::string help);
  void value(std::string names, std::uint64_t& target, std::string metavar, std::string help);
  void value(std::string names, float& target, std::string metavar, std::string help);
  // Empty until given; `otherwise` is what help shows as the default.
  void value(std::string names, std::optional<std::string>& target, std::string metavar, std::string help,
             std::string otherwise = {});
  void value(std::string names, std::optional<int>& target, std::string metavar, std::string help,
             std::string otherwise);
  void value(std::string names, std::optional<std::uint32_t>& target, std::string metavar, std::string help,
             std::string otherwise);
  void value(std::string names, std::optional<std::uint64_t>& target, std::string metavar, std::string help,
             std::string otherwise);
  void value(std::string names, std::optional<float>& target, std::string metavar, std::string help,
             std::string otherwise);
  // May be given several times.
  void list(std::string names, std::vector<std::string>& target, std::string metavar, std::string help);
  // One of a few words.
  void choice(std::string names, std::string& target, std::initializer_list<std::string_view> words, std::string help);
  // "500M", "2G": bytes in powers of 1024.
  void size(std::string names, std::uint64_t& target, std::string help);

  // False when help was asked for, and printed. Throws UsageError for anything that cannot be right.
  bool parse(Arguments arguments);
  std::string help() const;

 private:
  struct Entry {
    std::string names, metavar, help, otherwise;
    bool positional = false, required = false, repeats = false;
    std::function<void(const std::string& name, const std::string& text)> set;  // empty for flags
    bool* flag = nullptr;
    std::vector<std::string> words = {};  // of a choice
  };
  std::vector<OptionInfo> table() const;
  void add(Entry entry) { entries_.push_back(std::move(entry)); }
  [[noreturn]] void reject(const std::string& argument) const;

  std::string verb_, usage_, summary_;
  std::vector<Entry> entries_;
};

// "1,2,3" (spaces allowed) as numbers; throws UsageError naming `option`.
std::vector<std::int32_t> parse_id_list(std::string_view text, std::string_view option);

// Bytes from "4096", "500M" or "2G"; throws UsageError naming `option`.
std::uint64_t parse_size(std::string_view text, std::string_view option);

}  // namespace lathe::cli
