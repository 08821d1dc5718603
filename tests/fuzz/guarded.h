// Runs a part of a fuzz target; bad input should end in lathe::Error and in nothing else.
#pragma once

#include "base/error.h"
#include "base/log.h"

namespace lathe::fuzz {

template <class Body>
void guarded(Body&& body) {
  set_log_level(LogLevel::kError);
  try {
    body();
  } catch (const Error&) {
  }
}

}  // namespace lathe::fuzz
