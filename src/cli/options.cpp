// CLI11 splits the command line into options and values; types, defaults, help and suggestions are ours, so that every
// verb reads and fails alike.
#include "cli/options.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/nearest.h"
#include "cli/common.h"

namespace lathe::cli {
namespace {

constexpr std::size_t kHelpColumn = 30;

template <class T>
T parse_number(std::string_view name, const std::string& text, std::string_view kind) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::result_out_of_range) throw UsageError(fmt::format("{} is out of range: {}", name, text));
  if (error != std::errc() || stop != end) throw UsageError(fmt::format("{} wants {}, not '{}'", name, kind, text));
  return value;
}

template <class T>
T parse_as(std::string_view name, const std::string& text) {
  if constexpr (std::is_same_v<T, std::string>) {
    return text;
  } else if constexpr (std::is_floating_point_v<T>) {
    const T value = parse_number<T>(name, text, "a number");
    if (!std::isfinite(value)) throw UsageError(fmt::format("{} wants a finite number, not '{}'", name, text));
    return value;
  } else {
    return parse_number<T>(name, text, std::is_signed_v<T> ? "a whole number" : "a whole number that is not negative");
  }
}

template <class T>
auto setter(T& target) {
  return [&target](const std::string& name, const std::string& text) { target = parse_as<T>(name, text); };
}
template <class T>
auto setter(std::optional<T>& target) {
  return [&target](const std::string& name, const std::string& text) { target = parse_as<T>(name, text); };
}

// "-n,--tokens" as messages say it: "-n/--tokens".
std::string spoken(std::string names) {
  std::replace(names.begin(), names.end(), ',', '/');
  return names;
}

// Where options_of() wants the next table of options.
thread_local std::vector<OptionInfo>* asked_for_table = nullptr;

// "-n,--tokens" -> "-n", "--tokens".
std::vector<std::string> split_names(const std::string& names) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= names.size();) {
    const std::size_t comma = std::min(names.find(',', at), names.size());
    parts.push_back(names.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

// Breaks `text` into lines of at most `width` columns, each after the first starting at column `indent`.
std::string wrap(const std::string& text, std::size_t indent, std::size_t width) {
  std::string out;
  std::size_t column = 0, at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::size_t word = end - at;
    if (column > 0 && column + 1 + word > width) {
      out += "\n" + std::string(indent, ' ');
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out.append(text, at, word);
    column += word;
    at = end + 1;
  }
  return out;
}

}  // namespace

Options::Options(std::string verb, std::string usage, std::string summary)
    : verb_(std::move(verb)), usage_(std::move(usage)), summary_(std::move(summary)) {}

void Options::positional(std::string name, std::string& target, std::string help, bool required) {
  add({.names = std::move(name),
       .help = std::move(help),
       .positional = true,
       .required = required,
       .set = setter(target)});
}

void Options::positionals(std::string name, std::vector<std::string>& target, std::string help) {
  add({.names = std::move(name),
       .help = std::move(help),
       .positional = true,
       .repeats = true,
       .set = [&target](const std::string&, const std::string& text) { target.push_back(text); }});
}

void Options::flag(std::string names, bool& target, std::string help) {
  add({.names = std::move(names), .help = std::move(help), .flag = &target});
}

void Options::value(std::string names, std::string& target, std::string metavar, std::string help) {
  add({std::move(names), std::move(metavar), std::move(help), target, false, false, false, setter(target)});
}
void Options::value(std::string names, int& target, std::string metavar, std::string help) {
  add({std::move(names), std::move(metavar), std::move(help), fmt::to_string(target), false, false, false,
       setter(target)});
}
void Options::value(std::string names, std::uint32_t& target, std::string metavar, std::string help) {
  add({std::move(names), std::move(metavar), std::move(help), fmt::to_string(target), false, false, false,
       setter(target)});
}
void Options::value(std::string names, std::uint64_t& target, std::string metavar, std::string help) {
  add({std::move(names), std::move(metavar), std::move(help), fmt::to_string(target), false, false, false,
       setter(target)});
}
void Options::value(std::string names, float& target, std::string metavar, std::string help) {
  add({std::move(names), std::move(metavar), std::move(help), fmt::to_string(target), false, false, false,
       setter(target)});
}
void Options::value(std::string names, std::optional<std::string>& target, std::string metavar, std::string help,
                    std::string otherwise) {
  add({std::move(names), std::move(metavar), std::move(help), std::move(otherwise), false, false, false,
       setter(target)});
}
void Options::value(std::string names, std::optional<int>& target, std::string metavar, std::string help,
                    std::string otherwise) {
  add({std::move(names), std::move(metavar), std::move(help), std::move(otherwise), false, false, false,
       setter(target)});
}
void Options::value(std::string names, std::optional<std::uint32_t>& target, std::string metavar, std::string help,
                    std::string otherwise) {
  add({std::move(names), std::move(metavar), std::move(help), std::move(otherwise), false, false, false,
       setter(target)});
}
void Options::value(std::string names, std::optional<std::uint64_t>& target, std::string metavar, std::string help,
                    std::string otherwise) {
  add({std::move(names), std::move(metavar), std::move(help), std::move(otherwise), false, false, false,
       setter(target)});
}
void Options::value(std::string names, std::optional<float>& target, std::string metavar, std::string help,
                    std::string otherwise) {
  add({std::move(names), std::move(metavar), std::move(help), std::move(otherwise), false, false, false,
       setter(target)});
}

void Options::list(std::string names, std::vector<std::string>& target, std::string metavar, std::string help) {
  add({std::move(names),
       std::move(metavar),
       std::move(help),
       {},
       false,
       false,
       true,
       [&target](const std::string&, const std::string& text) { target.push_back(text); }});
}

void Options::choice(std::string names, std::string& target, std::initializer_list<std::string_view> words,
                     std::string help) {
  std::string metavar;
  for (const std::string_view word : words) metavar.append(metavar.empty() ? "" : "|").append(word);
  add({std::move(names), std::move(metavar), std::move(help), target, false, false, false,
       [&target, known = std::vector<std::string_view>(words)](const std::string& name, const std::string& text) {
         if (std::find(known.begin(), known.end(), text) == known.end()) {
           throw UsageError(fmt::format("{} does not know '{}'", name, text), {},
                            fmt::format("the nearest is '{}'", nearest_names(text, known, 1).front()));
         }
         target = text;
       },
       nullptr, std::vector<std::string>(words.begin(), words.end())});
}

void Options::size(std::string names, std::uint64_t& target, std::string help) {
  add({std::move(names), "BYTES", std::move(help), fmt::to_string(target), false, false, false,
       [&target](const std::string& name, const std::string& text) { target = parse_size(text, name); }});
}

bool Options::parse(Arguments arguments) {
  if (asked_for_table != nullptr) {
    *asked_for_table = table();
    return false;
  }
  CLI::App app;
  bool wants_help = false;
  app.set_help_flag();
  app.add_flag("-h,--help", wants_help);
  app.allow_extras();
  std::vector<std::pair<const Entry*, CLI::Option*>> positionals;
  for (const Entry& entry : entries_) {
    if (entry.flag != nullptr) {
      app.add_flag(entry.names, *entry.flag);
      continue;
    }
    const std::string shown = spoken(entry.names);
    CLI::Option* option = app.add_option(
        entry.names,
        [&entry, shown](const CLI::results_t& texts) {
          // CLI11 writes its mark of an empty list, "{}", as two words.
          const bool braces = texts.size() == 2 && texts[0] == "{}" && texts[1] == "%%";
          for (const std::string& text : std::span(texts).first(braces ? 1 : texts.size())) entry.set(shown, text);
          return true;
        },
        "");
    const bool many = entry.positional && entry.repeats;
    option->type_size(1)->expected(many ? -1 : 1)->allow_extra_args(many);
    option->multi_option_policy(entry.repeats ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast);
    if (entry.positional) positionals.emplace_back(&entry, option);
  }
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // the order CLI11 wants
  try {
    app.parse(reversed);
  } catch (const CLI::ArgumentMismatch& error) {
    // The only mismatch there can be: an option at the end of the line. CLI11 names its longest form.
    const std::string what = error.what(), name = what.substr(0, what.find(':'));
    const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& one) { return one.names.find(name) != std::string::npos; });
    throw UsageError(fmt::format("{} needs a value", entry == entries_.end() ? name : spoken(entry->names)),
                     "lathe " + verb_, fmt::format("see lathe {} -h", verb_));
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what(), "lathe " + verb_, fmt::format("see lathe {} -h", verb_));
  } catch (const UsageError& error) {
    throw UsageError(error.problem(), "lathe " + verb_, error.remedy());
  }
  if (wants_help) {
    print_text(help());
    return false;
  }
  const std::vector<std::string> extras = app.remaining();
  const auto dashed = std::find_if(extras.begin(), extras.end(),
                                   [](const std::string& extra) { return extra.size() > 1 && extra[0] == '-'; });
  if (dashed != extras.end()) reject(*dashed);
  if (!extras.empty()) reject(extras.front());
  for (const auto& [entry, option] : positionals) {
    if (entry->required && option->count() == 0) {
      throw UsageError(fmt::format("{} is missing", entry->names), "lathe " + verb_,
                       fmt::format("usage: lathe {} {}", verb_, usage_));
    }
  }
  return true;
}

void Options::reject(const std::string& argument) const {
  if (argument[0] != '-') {
    throw UsageError(fmt::format("'{}' is one argument too many", argument), "lathe " + verb_,
                     fmt::format("usage: lathe {} {}", verb_, usage_));
  }
  std::vector<std::string> declared;
  for (const Entry& entry : entries_) {
    if (entry.positional) continue;
    for (std::string& name : split_names(entry.names)) declared.push_back(std::move(name));
  }
  std::vector<std::string_view> names(declared.begin(), declared.end());
  names.emplace_back("--help");
  const std::string name = argument.substr(0, argument.find('='));
  const std::string nearest = nearest_names(name, names, 1).front();
  throw UsageError(fmt::format("unknown option '{}'", name), "lathe " + verb_,
                   fmt::format("the nearest is '{}'; lathe {} -h lists all", nearest, verb_));
}

std::vector<OptionInfo> Options::table() const {
  std::vector<OptionInfo> infos;
  for (const Entry& entry : entries_) {
    infos.push_back({split_names(entry.names), entry.metavar, entry.help, entry.words, entry.positional,
                     entry.flag != nullptr, entry.repeats});
  }
  return infos;
}

std::vector<OptionInfo> options_of(int (*verb)(Arguments arguments)) {
  std::vector<OptionInfo> infos;
  asked_for_table = &infos;
  try {
    verb({});
  } catch (const Error&) {  // a verb that asks for something before its options has none to tell
  }
  asked_for_table = nullptr;
  return infos;
}

std::string Options::help() const {
  std::string text = fmt::format("usage: lathe {} {}\n\n{}\n\n", verb_, usage_, wrap(summary_, 0, 110));
  bool first_option = true;
  const auto line = [&text](const std::string& left, const std::string& right) {
    text += "  " + left;
    text += left.size() + 2 < kHelpColumn ? std::string(kHelpColumn - left.size() - 2, ' ')
                                          : "\n" + std::string(kHelpColumn, ' ');
    text += wrap(right, kHelpColumn, 120 - kHelpColumn) + "\n";
  };
  for (const Entry& entry : entries_) {
    if (!entry.positional && std::exchange(first_option, false) && entries_.front().positional) text += "\n";
    std::string left = entry.names;
    if (const auto comma = left.find(','); comma != std::string::npos) left.insert(comma + 1, " ");
    if (!entry.positional && left[1] == '-') left.insert(0, "    ");
    if (!entry.metavar.empty()) left += " " + entry.metavar;
    std::string right = entry.help;
    if (entry.flag != nullptr) {
      right += " (default: off)";
    } else if (entry.repeats && !entry.positional) {
      right += "; may be given several times (default: none)";
    } else if (!entry.positional) {
      right += fmt::format(" (default: {})", entry.otherwise.empty() ? "none" : entry.otherwise);
    }
    line(left, right);
  }
  line("-h, --help", "show this");
  return text;
}

std::vector<std::int32_t> parse_id_list(std::string_view text, std::string_view option) {
  static constexpr std::string_view kSeparators = ", \t\n";
  std::vector<std::int32_t> ids;
  std::size_t begin = text.find_first_not_of(kSeparators);
  while (begin != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    ids.push_back(parse_as<std::int32_t>(option, std::string(text.substr(begin, end - begin))));
    begin = text.find_first_not_of(kSeparators, end);
  }
  return ids;
}

std::uint64_t parse_size(std::string_view text, std::string_view option) {
  static constexpr std::string_view kUnits = "KMGT";
  std::string digits(text);
  int shift = 0;
  if (!digits.empty() && (digits.back() == 'B' || digits.back() == 'b')) digits.pop_back();
  if (!digits.empty()) {
    const char unit = static_cast<char>(digits.back() & ~0x20);
    if (const auto at = kUnits.find(unit); at != std::string_view::npos) {
      shift = 10 * (static_cast<int>(at) + 1);
      digits.pop_back();
    }
  }
  const auto number = parse_number<std::uint64_t>(option, digits, "a size like 4096, 500M or 2G");
  return checked_mul(number, std::uint64_t{1} << shift, option);
}

}  // namespace lathe::cli
