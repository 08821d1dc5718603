// What text filters and text methods have in common.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace lathe::jinja {

// The value as a string; one that is a string already (and perhaps marked safe) stays as it is.
Value as_string(Heap& heap, const Value& value);
// A new string that is marked safe if `like` is.
Value string_like(Heap& heap, const Value& like, std::string text);

// str.replace; every occurrence when `count` is negative.
std::string replace_text(Heap& heap, std::string_view text, std::string_view from, std::string_view to,
                         std::int64_t count);
// str.splitlines: every line end that Unicode knows; kept at the lines' ends if asked.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
// Offset of `needle` in `text` at or after `from`, or npos; linear in both lengths.
std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from);
// The last one, or npos; its work is accounted for, being quadratic at worst.
std::size_t rfind_text(Heap& heap, std::string_view text, std::string_view needle);
// `text` with blanks around it up to `width` characters, as str.center does.
std::string centered(Heap& heap, std::string_view text, std::int64_t width, std::string_view fill);

}  // namespace lathe::jinja
