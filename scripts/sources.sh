#!/usr/bin/env bash
# Every C and C++ file of the project, separated by NUL: what format, tidy and the style check look at.
set -euo pipefail
cd "$(dirname "$0")/.."
folders=()
for folder in src include tests bench examples; do [ -d "$folder" ] && folders+=("$folder"); done
find "${folders[@]}" -name node_modules -prune -o -type f \( -name '*.h' -o -name '*.hpp' -o -name '*.cpp' -o -name '*.c' -o -name '*.cu' \) -print0 | sort -z
