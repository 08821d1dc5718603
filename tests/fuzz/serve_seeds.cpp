// Requests that the server understands, as serve_target.cpp reads them: method, path, host, origin, body.
#include "fuzz/seeds.h"

namespace lathe::fuzz {

std::vector<std::string> serve_seeds() {
  const auto post = [](std::string path, std::string body) { return "POST\n" + path + "\nlocalhost\n\n" + body; };
  return {
      post("/v1/completions",
           R"({"prompt":"Once","max_tokens":2,"n":2,"temperature":1,"seed":1,"stop":["a"],"logprobs":1,)"
           R"("logit_bias":{"5":-1},"stream":true,"stream_options":{"include_usage":true}})"),
      post("/v1/completions", R"({"prompt":[1,2,3],"max_tokens":0,"echo":true,"grammar":"root ::= \"a\"*"})"),
      post(
          "/v1/chat/completions",
          R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"t"}]}],)"
          R"("max_tokens":1,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}})"),
      post(
          "/v1/chat/completions",
          R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c","type":"function",)"
          R"("function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"r"}],"tools":[{"type":)"
          R"("function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":)"
          R"({"b":{"type":"integer"}}}}}],"tool_choice":"required","max_completion_tokens":2})"),
      post("/v1/responses", R"({"input":[{"role":"user","content":"a"}],"instructions":"i","max_output_tokens":1})"),
      post("/v1/embeddings", R"({"input":["a","b"],"encoding_format":"base64","dimensions":64})"),
      post("/tokenize", R"({"content":"a b","add_special":true,"with_pieces":true})"),
      post("/detokenize", R"({"tokens":[1,2,3]})"),
      post("/v1/session", R"({"model":"tiny","priority":3})"),
      post(
          "/v1/semantic_call",
          R"({"session_id":"sess_FUZZSESSION","template":"a {{x}} b {{y}}","parameters":[{"name":"x","value":"v"},)"
          R"({"name":"y","is_output":true,"transform":"json:a","criteria":"latency","sampling_config":{"max_tokens":2}}]})"),
      post(
          "/v1/semantic_call",
          R"({"session_id":"sess_FUZZSESSION","variables":{"d":"text"},"calls":[{"template":"{{d}}{{a}}","parameters":)"
          R"([{"name":"a","is_output":true}],"max_tokens":1},{"template":"{{a}}{{b}}","parameters":[{"name":"b",)"
          R"("is_output":true,"transform":"trim"},{"name":"a","variable":"d"}]}],"want":{"b":"throughput"}})"),
      post("/v1/semantic_var/var_FUZZSESSION_0", R"({"content":"text"})"),
      "GET\n/v1/semantic_var/var_FUZZSESSION_0\nlocalhost\n\n",
      "GET\n/v1/session/sess_FUZZSESSION\nlocalhost\n\n",
      "DELETE\n/v1/session/sess_FUZZSESSION\nlocalhost\n\n",
      "GET\n/v1/models\n127.0.0.1:80\nhttp://127.0.0.1:80\n",
      "GET\n/v1/models/tiny\n[::1]:1\n\n",
      "GET\n/metrics\n\n\n"};
}

}  // namespace lathe::fuzz
