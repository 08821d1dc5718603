// Errors as the OpenAI API says them: an HTTP status and {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <exception>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/json_fwd.h"
#include "serve/http/message.h"

namespace lathe::serve {

class ApiError : public Error {
 public:
  // `param` names the request's field, `code` is a word for programs ("model_not_found"); both may be empty.
  ApiError(unsigned status, std::string message, std::string param = {}, std::string code = {});

  unsigned status() const { return status_; }
  const std::string& param() const { return param_; }
  const std::string& code() const { return code_; }
  std::optional<unsigned> retry_after;  // seconds, for 429 and 503

 private:
  unsigned status_;
  std::string param_, code_;
};

// The API's word for a status: "invalid_request_error", "rate_limit_error", ...
std::string error_type(unsigned status);
Json error_json(const ApiError& error);
Response error_response(const ApiError& error);

// Whatever was thrown as an ApiError: what the engine refuses is the client's mistake (400), too many calls is 429, the
// rest is 500 without details.
ApiError as_api_error(const std::exception_ptr& error);

}  // namespace lathe::serve
