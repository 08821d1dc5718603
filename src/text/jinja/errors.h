// The error of a template that refuses its input.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace lathe::text {

// A template called raise_exception(message): the conversation, not the template, is at fault.
class TemplateRaised : public Error {
 public:
  TemplateRaised(std::string message, std::string where)
      : Error(message, std::move(where)), message_(std::move(message)) {}
  // What the template said, unaltered.
  const std::string& message() const { return message_; }

 private:
  std::string message_;
};

}  // namespace lathe::text
