# Third-party libraries, all from the distribution (scripts/packages.txt names the packages and their licences).
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
find_path(LATHE_XXHASH_INCLUDE xxhash.h REQUIRED)  # header only
find_package(Boost 1.74 REQUIRED)  # Asio and Beast: headers only
# Linked into the program: two shared libraries less to load and relocate at every start.
set(OPENSSL_USE_STATIC_LIBS ON)
find_package(OpenSSL 3 REQUIRED)
if(LATHE_TESTS)
  find_package(GTest REQUIRED)
endif()
if(LATHE_CUDA)
  enable_language(CUDA)
  # CMake 3.25.1 does not know how nvcc spells C++20.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
endif()
