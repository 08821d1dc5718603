// Whether this build runs under a sanitizer that keeps freed memory and takes several times as long.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LATHE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LATHE_SANITIZED 1
#endif
#endif
#ifndef LATHE_SANITIZED
#define LATHE_SANITIZED 0
#endif

namespace lathe::test {
inline constexpr bool kSanitized = LATHE_SANITIZED != 0;
}  // namespace lathe::test
