#!/usr/bin/env bash
# clang-tidy over src/ and, through it, include/, as compile_commands.json of build folder $1 compiles it, and over the
# examples, which are compiled as a user would; fails on any finding.
set -euo pipefail
build="$(cd "$1" && pwd)"
cd "$(dirname "$0")/.."
[ -f "$build/compile_commands.json" ] || { echo "tidy: no compile_commands.json in $build" >&2; exit 1; }
tidy=(clang-tidy --quiet --warnings-as-errors='*')
"${tidy[@]}" --checks=-modernize-use-nullptr examples/c/*.c -- -std=c99 -Iinclude
"${tidy[@]}" examples/cpp/*.cpp -- -std=c++20 -Iinclude
sed -n 's|^ *"file": "\('"$PWD"'/src/.*\.cpp\)".*|\1|p' "$build/compile_commands.json" | sort -u | tr '\n' '\0' | xargs -0 -n 4 -P "$(nproc)" "${tidy[@]}" -p "$build"
