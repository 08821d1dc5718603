// What this process knows about itself: memory it has used, and whether a stream is a terminal.
#pragma once

#include <cstdint>

namespace lathe {

// The largest resident set so far, in bytes.
std::uint64_t peak_rss_bytes();

bool stdin_is_terminal();
bool stdout_is_terminal();

}  // namespace lathe
