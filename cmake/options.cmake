# What can be switched on and off, and the compiler flags every room shares.
option(LATHE_TESTS "Build the tests" ON)
option(LATHE_BENCH "Build the micro-benchmarks (Google Benchmark)" OFF)
option(LATHE_FUZZ "Build the libFuzzer targets (clang only)" OFF)
option(LATHE_CUDA "Build the CUDA backend (needs nvcc); otherwise a stub says it is absent" OFF)
option(LATHE_UNITY "Compile several sources of a room in one go: a clean build in half the time" OFF)
option(LATHE_WERROR "Treat warnings as errors" OFF)
set(LATHE_SANITIZE "" CACHE STRING "Comma-separated sanitizers: address,undefined or thread")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

find_program(LATHE_CCACHE ccache)
if(LATHE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${LATHE_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${LATHE_CCACHE}")
endif()

# -ffp-contract=off: a fused multiply-add only where a kernel asks for one, so that results do not depend on what the
# compiler happened to fuse.
add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wno-psabi;-Wno-missing-field-initializers;-ffp-contract=off>")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>")  # warns about correct std::string code (GCC bug 105651)
endif()
if(LATHE_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Warns of types in unnamed namespaces outside of "the main file", which is another one here.
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>")
endif()
if(LATHE_WERROR)
  add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-Werror>")
endif()
if(LATHE_SANITIZE)
  # -g1: reports name functions and lines, which is all they need, at half the cost of whole debug information.
  add_compile_options("-fsanitize=${LATHE_SANITIZE}" -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  add_link_options("-fsanitize=${LATHE_SANITIZE}")
endif()
if(LATHE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)  # coverage counters in every room
endif()
