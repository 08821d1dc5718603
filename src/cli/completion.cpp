// lathe completion: scripts that let bash, zsh and fish complete verbs, options and their values, made from the tables
// that the verbs declare.
#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "base/nearest.h"
#include "cli/common.h"
#include "cli/verbs.h"

namespace lathe::cli {
namespace {

// What may stand where a value is asked for.
enum class Value { kNothing, kFile, kModel, kWords };

Value value_of(const OptionInfo& option) {
  if (!option.words.empty()) return Value::kWords;
  const std::string& name = option.positional ? option.names.front() : option.metavar;
  if (name.starts_with("MODEL")) return Value::kModel;
  for (const std::string_view file : {"FILE", "LINES", "IN", "OUT", "FOLDER"}) {
    if (name.starts_with(file)) return Value::kFile;
  }
  return Value::kNothing;
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : between).append(word);
  return text;
}

// The first clause of a help text: menus have little room.
std::string brief(const std::string& help) { return help.substr(0, help.find_first_of(";:(")); }

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
  return text;
}

// Inside single quotes of a POSIX shell and zsh.
std::string quoted(const std::string& text) { return replaced(text, "'", "'\\''"); }

// A verb, or one inside another, as it is typed: "run", "bench matmul".
struct Command {
  std::string name;
  std::vector<OptionInfo> options;  // --help among them
  std::vector<std::string> inner;   // words that a command of its own follows
};

Command command_of(std::string name, const Verb& verb) {
  Command command{std::move(name), options_of(verb.run), {}};
  command.options.push_back({.names = {"-h", "--help"}, .help = "show every option", .flag = true});
  return command;
}

std::vector<Command> commands() {
  std::vector<Command> all;
  for (const Verb& verb : verbs()) {
    Command outer = command_of(std::string(verb.name), verb);
    for (const Verb& inner : inner_verbs(verb.name)) {
      outer.inner.emplace_back(inner.name);
      all.push_back(command_of(fmt::format("{} {}", verb.name, inner.name), inner));
    }
    all.push_back(std::move(outer));
  }
  return all;
}

// 'bench matmul'|'bench attention', as patterns of a shell's case.
std::string two_words(const std::vector<Command>& all) {
  std::vector<std::string> names;
  for (const Command& command : all) {
    if (command.name.find(' ') != std::string::npos) names.push_back("'" + command.name + "'");
  }
  return joined(names, "|");
}

std::string bash_script() {
  std::string verb_names, cases;
  for (const Verb& verb : verbs()) verb_names.append(verb_names.empty() ? "" : " ").append(verb.name);
  const std::vector<Command> every = commands();
  for (const Command& command : every) {
    std::string all, values;
    bool model = false;
    for (const OptionInfo& option : command.options) {
      model = model || (option.positional && value_of(option) == Value::kModel);
      if (option.positional) continue;
      all.append(all.empty() ? "" : " ").append(joined(option.names, " "));
      if (option.flag) continue;
      static constexpr std::array<std::string_view, 3> kKinds = {"words=''", "files=yes", "models=yes files=yes"};
      const Value value = value_of(option);
      values += fmt::format("        {}) {} ;;\n", joined(option.names, "|"),
                            value == Value::kWords ? fmt::format("words='{}'", joined(option.words, " "))
                                                   : kKinds[static_cast<std::size_t>(value)]);
    }
    const std::string inner =
        command.inner.empty() ? "" : fmt::format("; ((COMP_CWORD == 2)) && words+=' {}'", joined(command.inner, " "));
    cases += fmt::format("    '{}')\n      case $before in\n{}        *) words='{}' files=yes{}{} ;;\n      esac ;;\n",
                         command.name, values, all, model ? " models=yes" : "", inner);
  }
  return fmt::format(R"sh(# bash completion for lathe: source <(lathe completion bash)
_lathe() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words='' files='' models=''
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '{} --help --version' -- "$word"))
    return
  fi
  local verb=${{COMP_WORDS[1]}}
  case "$verb ${{COMP_WORDS[2]}}" in
    {}) ((COMP_CWORD > 2)) && verb+=" ${{COMP_WORDS[2]}}" ;;
  esac
  case $verb in
{}  esac
  [[ $word == -* ]] && files='' models=''
  [[ $models ]] && words+=" $(lathe list --names 2>/dev/null)"
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  [[ $files ]] && COMPREPLY+=($(compgen -f -- "$word"))
}}
complete -o filenames -F _lathe lathe
)sh",
                     verb_names, two_words(every), cases);
}

std::string zsh_script() {
  std::string list, cases;
  for (const Verb& verb : verbs())
    list += fmt::format("    '{}:{}'\n", verb.name, quoted(replaced(std::string(verb.summary), ":", "\\:")));
  const std::vector<Command> every = commands();
  for (const Command& command : every) {
    cases += fmt::format("    '{}') ", command.name);
    if (!command.inner.empty())
      cases += fmt::format("((CURRENT == 2)) && compadd -- {}\n      ", joined(command.inner, " "));
    cases += "_arguments";
    for (const OptionInfo& option : command.options) {
      const Value kind = value_of(option);
      const std::string action = kind == Value::kWords   ? "(" + joined(option.words, " ") + ")"
                                 : kind == Value::kFile  ? "_files"
                                 : kind == Value::kModel ? "_lathe_models"
                                                         : "";
      const std::string value = option.flag ? "" : fmt::format(":{}:{}", replaced(option.metavar, ":", "\\:"), action);
      if (option.positional) {
        cases += fmt::format(" \\\n      ':{}:{}'", option.names.front(), action.empty() ? "_files" : action);
        continue;
      }
      const std::string help = replaced(replaced(quoted(brief(option.help)), "[", "\\["), "]", "\\]");
      for (const std::string& name : option.names)
        cases += fmt::format(" \\\n      '{}{}[{}]{}'", option.repeats ? "*" : "", name, help, value);
    }
    cases += " ;;\n";
  }
  return fmt::format(R"sh(#compdef lathe
# zsh completion for lathe: lathe completion zsh > "${{fpath[1]}}/_lathe"
_lathe_models() {{
  local -a names
  names=(${{(f)"$(lathe list --names 2>/dev/null)"}})
  compadd -a names
  _files
}}
_lathe() {{
  local -a verbs
  verbs=(
{}  )
  if ((CURRENT == 2)); then
    _describe verb verbs
    return
  fi
  shift words
  ((CURRENT--))
  local verb=$words[1]
  case "$words[1] $words[2]" in
    {})
      if ((CURRENT > 2)); then
        verb="$words[1] $words[2]"
        shift words
        ((CURRENT--))
      fi ;;
  esac
  case $verb in
{}  esac
}}
compdef _lathe lathe
)sh",
                     list, two_words(every), cases);
}

std::string fish_script() {
  std::string script =
      "# fish completion for lathe: lathe completion fish > ~/.config/fish/completions/lathe.fish\n"
      "complete -c lathe -f\n";
  const auto quote = [](const std::string& text) { return replaced(replaced(text, "\\", "\\\\"), "'", "\\'"); };
  for (const Verb& verb : verbs()) {
    script += fmt::format("complete -c lathe -n __fish_use_subcommand -a {} -d '{}'\n", verb.name,
                          quote(std::string(verb.summary)));
    for (const Verb& inner : inner_verbs(verb.name))
      script += fmt::format("complete -c lathe -n '__fish_seen_subcommand_from {}' -a {} -d '{}'\n", verb.name,
                            inner.name, quote(std::string(inner.summary)));
  }
  for (const Command& command : commands()) {
    std::string where = fmt::format("__fish_seen_subcommand_from {}", command.name);
    if (const std::size_t space = where.rfind(' '); command.name.find(' ') != std::string::npos)
      where.replace(space, 1, "; and __fish_seen_subcommand_from ");
    if (!command.inner.empty())
      where += fmt::format("; and not __fish_seen_subcommand_from {}", joined(command.inner, " "));
    for (const OptionInfo& option : command.options) {
      const Value kind = value_of(option);
      std::string line = fmt::format("complete -c lathe -n '{}'", where);
      if (option.positional) {
        line += kind == Value::kModel ? " -F -a '(lathe list --names 2>/dev/null)'" : " -F";
        script += line + "\n";
        continue;
      }
      for (const std::string& name : option.names)
        line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (kind == Value::kWords) line += fmt::format(" -x -a '{}'", joined(option.words, " "));
      if (kind == Value::kNothing && !option.flag) line += " -x";
      if (kind == Value::kFile) line += " -r -F";
      if (kind == Value::kModel) line += " -r -F -a '(lathe list --names 2>/dev/null)'";
      script += line + fmt::format(" -d '{}'\n", quote(brief(option.help)));
    }
  }
  return script;
}

}  // namespace

int completion_verb(Arguments arguments) {
  static constexpr std::array<std::string_view, 3> kShells = {"bash", "zsh", "fish"};
  OutputArgs output;
  std::string shell;
  Options options("completion", "bash|zsh|fish",
                  "Prints a script that lets the shell complete verbs, options and models. For bash: "
                  "source <(lathe completion bash)");
  options.positional("SHELL", shell, "bash, zsh or fish", true);
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);
  if (std::find(kShells.begin(), kShells.end(), shell) == kShells.end()) {
    throw UsageError(
        fmt::format("there is no script for '{}'", shell), {},
        fmt::format("the nearest is '{}'; bash, zsh and fish are known", nearest_names(shell, kShells, 1).front()));
  }
  const std::string script = shell == "bash" ? bash_script() : shell == "zsh" ? zsh_script() : fish_script();
  if (output.json) {
    print_json({{"shell", shell}, {"script", script}});
  } else {
    print_text(script);
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
