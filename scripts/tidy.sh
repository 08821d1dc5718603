#!/usr/bin/env bash
# clang-tidy over src/, as compile_commands.json of build folder $1 compiles it; fails on any finding.
set -euo pipefail
build="$(cd "$1" && pwd)"
cd "$(dirname "$0")/.."
[ -f "$build/compile_commands.json" ] || { echo "tidy: no compile_commands.json in $build" >&2; exit 1; }
find src -name '*.cpp' -print0 | sort -z |
  xargs -0 -n 4 -P "$(nproc)" clang-tidy --quiet --warnings-as-errors='*' -p "$build"
