#include "serve/semantic/call_request.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "serve/openai/beam_fields.h"
#include "serve/openai/sampling_fields.h"

namespace lathe::serve {
namespace {

constexpr std::size_t kMostPlaceholders = 256, kLongestVariable = 128;

[[noreturn]] void refuse(const std::string& field, std::string message, std::string code = "invalid_value") {
  throw ApiError(400, std::move(message), field, std::move(code));
}

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

// A template in its pieces: text, placeholder, text, ... as pairs of the text before a placeholder and its name; the
// text after the last one stands behind with an empty name.
std::vector<std::pair<std::string, std::string>> pieces_of(const std::string& text, const std::string& field) {
  std::vector<std::pair<std::string, std::string>> pieces;
  std::size_t at = 0;
  for (std::size_t open = text.find("{{"); open != std::string::npos; open = text.find("{{", at)) {
    const std::size_t close = text.find("}}", open);
    if (close == std::string::npos) refuse(field, fmt::format("'{}' has a {{{{ without }}}}", field));
    const std::string name = trimmed(text.substr(open + 2, close - open - 2));
    if (name.empty() || name.size() > kLongestVariable)
      refuse(field,
             fmt::format("'{}' has a placeholder whose name is empty or longer than {}", field, kLongestVariable));
    pieces.emplace_back(text.substr(at, open - at), name);
    if (pieces.size() > kMostPlaceholders)
      refuse(field, fmt::format("'{}' has more than {} placeholders", field, kMostPlaceholders));
    at = close + 2;
  }
  pieces.emplace_back(text.substr(at), "");
  return pieces;
}

// Of its prompts, values and names.
std::uint64_t program_bytes(const engine::Program& program) {
  std::uint64_t bytes = 0;
  for (const engine::Variable& variable : program.variables)
    bytes += variable.name.size() + (variable.value ? variable.value->size() : 0);
  for (const engine::Node& node : program.nodes) {
    for (const auto& piece : node.prompt) {
      const auto* text = std::get_if<std::string>(&piece);
      bytes += text != nullptr ? text->size() : sizeof(engine::VariableId);
    }
  }
  return bytes;
}

class Adder {
 public:
  Adder(const Lease& lease, engine::Program& program, VariableNames& names, const FindVariable& find)
      : lease_(lease), program_(program), names_(names), find_(find), bytes_(program_bytes(program)) {}

  AddedCalls added;

  engine::VariableId named(const std::string& name, const std::string& field) {
    if (name.empty() || name.size() > kLongestVariable)
      refuse(field, fmt::format("a variable's name must have 1 to {} bytes", kLongestVariable));
    const auto found = names_.find(name);
    return found != names_.end() ? found->second : names_[name] = fresh(name);
  }

  void set(engine::VariableId id, std::string value, const std::string& field) {
    engine::Variable& variable = program_.variables[id];
    if (variable.value || variable.producer)
      refuse(field, fmt::format("variable '{}' has a value or a producer already", variable.name), "variable_set");
    bytes_ += value.size();
    check_size();
    variable.value = std::move(value);
  }

  void call(const Json& object, const std::string& path, bool shared_names) {
    Fields fields(object, path);
    const std::string field = fields.name("template"), text = fields.required_text("template");
    check_model(fields);
    Json settings = object;
    for (const char* own : {"template", "parameters", "models", "session_id"}) settings.erase(own);
    std::map<std::string, Json, std::less<>> parameters;
    if (const Json* list = fields.array("parameters")) {
      for (std::size_t i = 0; i < list->size(); ++i) {
        const std::string where = fmt::format("{}[{}]", fields.name("parameters"), i);
        Fields one((*list)[i], where);
        const std::string name = one.required_text("name");
        if (!parameters.emplace(name, (*list)[i]).second) refuse(where, fmt::format("'{}' is given twice", name));
      }
    }
    added.calls.emplace_back();
    std::map<std::string, engine::VariableId, std::less<>> bound;  // the placeholders so far
    std::vector<std::variant<std::string, engine::VariableId>> prompt;
    std::size_t outputs = 0;
    for (auto& [before, name] : pieces_of(text, field)) {
      if (!before.empty()) prompt.emplace_back(before);
      if (name.empty()) {
        if (outputs == 0) refuse(field, fmt::format("'{}' has no output", field), "no_output");
        if (trimmed(before).find_first_not_of("\n\r") != std::string::npos)
          refuse(field, fmt::format("'{}' has text behind its last output, which nobody would read", field));
        break;
      }
      const auto given = parameters.find(name);
      const bool output = given != parameters.end() && given->second.value("is_output", Json(false)) == Json(true);
      if (const auto known = bound.find(name); known != bound.end()) {
        if (output) refuse(field, fmt::format("output '{}' stands in '{}' twice", name, field), "two_producers");
        prompt.emplace_back(known->second);
        continue;
      }
      const std::string where = fmt::format("{} '{}'", fields.name("parameters"), name);
      const Json nothing = Json::object();
      Fields parameter(given == parameters.end() ? nothing : given->second, where);
      parameter.ignore({"name", "is_output"});
      const engine::VariableId id = variable_of(parameter, name, where, shared_names);
      bound[name] = id;
      added.calls.back().push_back({name, id, output});
      if (output) {
        add_node(prompt, id, parameter, settings, where);
        ++outputs;
      } else if (auto value = parameter.text("value")) {
        set(id, std::move(*value), where);
      }
      if (const auto criteria = parameter.text("criteria")) added.wanted.emplace_back(id, goal_named(*criteria, where));
      parameter.finish();
      prompt.emplace_back(id);
    }
    for (const auto& [name, parameter] : parameters) {
      if (!bound.contains(name))
        refuse(field, fmt::format("parameter '{}' has no placeholder in '{}'", name, field), "unknown_parameter");
    }
  }

 private:
  void check_size() const {
    if (bytes_ > kMostProgramBytes)
      throw ApiError(413, fmt::format("a session may hold {} bytes of text at most", kMostProgramBytes), {},
                     "program_too_large");
  }

  engine::VariableId fresh(const std::string& name) {
    if (program_.variables.size() >= kMostVariables)
      refuse("session_id", fmt::format("a session may have {} variables at most", kMostVariables), "program_too_large");
    return program_.add_variable(name);
  }

  engine::VariableId variable_of(Fields& parameter, const std::string& placeholder, const std::string& where,
                                 bool shared_names) {
    const auto id = parameter.text("var_id"), name = parameter.text("variable");
    if (id && name) refuse(where, "'var_id' and 'variable' exclude each other");
    if (id) {
      const auto found = find_(*id);
      if (!found)
        throw ApiError(404, fmt::format("there is no variable '{}' in this session", *id), where, "unknown_variable");
      return *found;
    }
    if (name || shared_names) return named(name.value_or(placeholder), where);
    return fresh(placeholder);
  }

  void check_model(Fields& fields) {
    const Json* models = fields.array("models");
    if (models == nullptr || models->empty()) return;
    const bool there = std::any_of(models->begin(), models->end(), [&](const Json& one) { return one == lease_.name; });
    if (!there) {
      refuse(fields.name("models"), fmt::format("the session's model is '{}'; open another session", lease_.name),
             "model_not_found");
    }
  }

  void add_node(const std::vector<std::variant<std::string, engine::VariableId>>& prompt, engine::VariableId output,
                Fields& parameter, const Json& call_settings, const std::string& where) {
    if (program_.nodes.size() >= kMostNodes)
      refuse("session_id", fmt::format("a session may have {} calls at most", kMostNodes), "program_too_large");
    const engine::Variable& variable = program_.variables[output];
    if (variable.producer)
      refuse(where, fmt::format("variable '{}' has a producer already", variable.name), "two_producers");
    if (variable.value) refuse(where, fmt::format("variable '{}' has a value already", variable.name), "variable_set");
    for (const auto& piece : prompt) {  // before it is copied: every output of a template repeats what stands before it
      const auto* text = std::get_if<std::string>(&piece);
      bytes_ += text != nullptr ? text->size() : sizeof(engine::VariableId);
    }
    check_size();
    engine::Node node;
    node.prompt = prompt;
    node.output = output;
    if (const auto transform = parameter.text("transform")) {
      try {
        node.transform = engine::ValueTransform::named(*transform);
      } catch (const ApiError&) {
        throw;
      } catch (const Error& error) {
        refuse(where, error.what());
      }
    }
    Json settings = call_settings;
    if (const Json* own = parameter.object("sampling_config")) settings.update(*own);
    Fields fields(settings, where);
    node.request = read_common_fields(fields, lease_).request;
    refuse_beams(fields);
    node.request.max_tokens = static_cast<std::uint32_t>(fields.integer("max_tokens", 1, kMostTokens).value_or(128));
    if (const Json* schema = fields.object("json_schema"))
      node.request.json_schema = schema->dump(-1, ' ', false, Json::error_handler_t::replace);
    fields.finish();
    program_.add_node(std::move(node));
  }

  const Lease& lease_;
  engine::Program& program_;
  VariableNames& names_;
  const FindVariable& find_;
  std::uint64_t bytes_;  // of the program
};

}  // namespace

engine::Goal goal_named(const std::string& criteria, const std::string& field) {
  if (criteria == "latency" || criteria == "TTFT" || criteria == "TPOT") return engine::Goal::kLatency;
  if (criteria == "throughput") return engine::Goal::kThroughput;
  refuse(field, fmt::format("'{}' is no criterion; latency and throughput are", criteria));
}

std::string beginning_of(const Json& request) {
  const auto in = [](const Json* object, const std::string& key) -> const Json* {
    if (object == nullptr || !object->is_object()) return nullptr;
    const auto found = object->find(key);
    return found != object->end() ? &*found : nullptr;
  };
  const Json* calls = in(&request, "calls");
  const Json* call = calls != nullptr && calls->is_array() && !calls->empty() ? &calls->front() : &request;
  const Json *text = in(call, "template"), *parameters = in(call, "parameters");
  std::string beginning;
  if (text == nullptr || !text->is_string()) return beginning;
  try {
    for (const auto& [before, name] : pieces_of(text->get_ref<const std::string&>(), "template")) {
      beginning += before;
      const Json* value = in(in(&request, "variables"), name);
      for (std::size_t i = 0; parameters != nullptr && parameters->is_array() && i < parameters->size(); ++i) {
        const Json* named = in(&(*parameters)[i], "name");
        if (named != nullptr && *named == name) value = in(&(*parameters)[i], "value");
      }
      if (value == nullptr || !value->is_string()) break;
      beginning += value->get_ref<const std::string&>();
    }
  } catch (const ApiError&) {  // which the reading of the request tells better
  }
  return beginning;
}

AddedCalls add_calls(const Json& body, const Lease& lease, engine::Program& program, VariableNames& names,
                     const FindVariable& find) {
  Fields request(body);
  request.ignore({"session_id"});
  Adder adder(lease, program, names, find);
  if (const Json* variables = request.object("variables")) {
    for (const auto& [name, value] : variables->items()) {
      if (!value.is_string()) refuse("variables", fmt::format("the value of '{}' must be a string", name));
      adder.set(adder.named(name, "variables"), value.get<std::string>(), "variables");
    }
  }
  const Json* calls = request.array("calls");
  if (calls == nullptr || calls->empty())
    refuse("calls", "'template' or 'calls' is missing", "missing_required_parameter");
  for (std::size_t i = 0; i < calls->size(); ++i) adder.call((*calls)[i], fmt::format("calls[{}]", i), true);
  if (const Json* want = request.object("want")) {
    for (const auto& [name, criteria] : want->items()) {
      const auto found = names.find(name);
      if (found == names.end())
        throw ApiError(404, fmt::format("'want' names '{}', which no call has", name), "want", "unknown_variable");
      if (!criteria.is_string()) refuse("want", fmt::format("the criterion of '{}' must be a string", name));
      adder.added.wanted.emplace_back(found->second, goal_named(criteria.get<std::string>(), "want"));
    }
  }
  request.finish();
  return std::move(adder.added);
}

AddedCalls add_call(const Json& request, const Lease& lease, engine::Program& program, VariableNames& names,
                    const FindVariable& find) {
  Adder adder(lease, program, names, find);
  adder.call(request, "", false);
  return std::move(adder.added);
}

}  // namespace lathe::serve
