// Programs of calls with semantic variables, run by a Lathe server: the client's side, in liblathe-client. All calls
// are submitted at once; the server runs them as their inputs come, and values go from call to call without coming
// here. C++17 and later.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lathe {

// A piece of a template between {{ and }}.
struct Placeholder {
  std::string name;
  bool is_output = false;
  std::string transform;  // of an output: "trim", "first_line", "json:FIELD", or empty
};

// A call: text with {{placeholders}}, which are variables of the session by these names. Those not listed are inputs.
struct SemanticCall {
  std::string text;
  std::vector<Placeholder> placeholders;
  unsigned max_tokens = 128;
  double temperature = 0;  // 0: always the likeliest token
  bool ignore_eos = false;
};

// A program in one request, which takes one round trip: the texts of the variables `wanted` by their names, or, when
// none are named, of the outputs that no call reads. `url` is the server's, as "http://127.0.0.1:8080"; `key` and
// `model` may be empty. Throws std::runtime_error with one line that says what is wrong: no connection, a program that
// cannot run, a wanted variable whose call failed.
std::map<std::string, std::string> run_program(const std::string& url, const std::vector<SemanticCall>& calls,
                                               const std::map<std::string, std::string>& values = {},
                                               const std::vector<std::string>& wanted = {}, const std::string& key = {},
                                               const std::string& model = {});

enum class Criterion { kNone, kLatency, kThroughput };

// A session of a server, ended when this is destroyed, for programs that grow or are looked at while they run. Every
// member throws std::runtime_error as run_program does.
class SemanticClient {
 public:
  // `url` is the server's, as "http://127.0.0.1:8080". `key` and `model` may be empty.
  explicit SemanticClient(std::string url, std::string key = {}, const std::string& model = {});
  ~SemanticClient();
  SemanticClient(const SemanticClient&) = delete;
  SemanticClient& operator=(const SemanticClient&) = delete;

  const std::string& session() const { return session_; }
  // All calls or none; returns at once. The ids of the variables by name.
  std::map<std::string, std::string> submit(const std::vector<SemanticCall>& calls,
                                            const std::map<std::string, std::string>& values = {});
  // The same for a request written in JSON, {"calls": [...], "variables": {...}, "want": {...}}.
  std::map<std::string, std::string> submit_json(const std::string& program);
  void set(const std::string& var_id, const std::string& content);
  // The variable's text, once it is there.
  std::string get(const std::string& var_id, Criterion criterion = Criterion::kNone);
  // Says what somebody will wait for, and does not wait.
  void want(const std::string& var_id, Criterion criterion);
  // Nodes, their states and times, as JSON.
  std::string state();

 private:
  std::string ask(const std::string& method, const std::string& path, const std::string& body = {});
  std::string url_, key_, session_;
};

}  // namespace lathe
