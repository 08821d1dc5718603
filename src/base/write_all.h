// Writing to a descriptor to the end.
#pragma once

#include <string_view>

namespace lathe {

// Writes all of `bytes`, however often signals interrupt it. False, with errno set, when the descriptor takes no more.
[[nodiscard]] bool write_all(int descriptor, std::string_view bytes);

}  // namespace lathe
