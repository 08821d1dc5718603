// "Did you mean ...?": the candidates closest to a name somebody mistyped.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

// Insertions, deletions, replacements and swaps of neighbours that turn one name into the other, ignoring ASCII case
// (Damerau-Levenshtein distance, optimal string alignment).
std::size_t edit_distance(std::string_view a, std::string_view b);

// At most `limit` of `candidates`, nearest first; a candidate that `name` abbreviates counts as near. The order of
// candidates breaks ties.
std::vector<std::string> nearest_names(std::string_view name, std::span<const std::string_view> candidates,
                                       std::size_t limit);

}  // namespace lathe
