#include "serve/openai/error.h"

#include <new>

#include "base/json.h"
#include "base/log.h"
#include "cache/block_pool.h"
#include "engine/session.h"
#include "serve/http/server.h"

namespace lathe::serve {

ApiError::ApiError(unsigned status, std::string message, std::string param, std::string code)
    : Error(std::move(message)), status_(status), param_(std::move(param)), code_(std::move(code)) {}

std::string error_type(unsigned status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

Json error_json(const ApiError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return {{"error",
           {{"message", error.what()},
            {"type", error_type(error.status())},
            {"param", or_null(error.param())},
            {"code", or_null(error.code())}}}};
}

Response error_response(const ApiError& error) {
  Response response;
  response.status = error.status();
  response.body = error_json(error).dump(-1, ' ', false, Json::error_handler_t::replace);
  if (error.retry_after) response.headers.emplace_back("Retry-After", std::to_string(*error.retry_after));
  if (error.status() == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

Response protocol_error(unsigned status, const std::string& message) { return error_response({status, message}); }

ApiError as_api_error(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const ApiError& known) {
    return known;
  } catch (const engine::Overloaded& overloaded) {
    ApiError busy(429, overloaded.what(), {}, "rate_limit_exceeded");
    busy.retry_after = 1;
    return busy;
  } catch (const cache::OutOfBlocks& full) {
    ApiError busy(503, full.what(), {}, "kv_cache_full");
    busy.retry_after = 1;
    return busy;
  } catch (const Cancelled&) {
    return {503, "the request was cancelled: the server is stopping", {}, "cancelled"};
  } catch (const std::bad_alloc&) {
    return {503, "out of memory for this request", {}, "out_of_memory"};
  } catch (const Error& refused) {
    return {400, refused.what()};
  } catch (const std::exception& unexpected) {
    log_warning("internal error: {}", unexpected.what());
    return {500, "internal error"};
  }
}

}  // namespace lathe::serve
