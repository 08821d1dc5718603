#!/usr/bin/env bash
# Runs every libFuzzer program of build folder $1 for $2 seconds, from the seed corpus of its name where there is one.
set -euo pipefail
build="$1" seconds="${2:-30}"
root="$(cd "$(dirname "$0")/.." && pwd)"
found=0
for program in "$build"/bin/fuzz_*; do
  [ -x "$program" ] || continue
  found=1
  name="$(basename "$program")"
  work="$build/corpus/$name"
  mkdir -p "$work"
  seeds=()
  [ -d "$root/tests/fuzz/corpus/${name#fuzz_}" ] && seeds=("$root/tests/fuzz/corpus/${name#fuzz_}")
  echo "== $name, $seconds s"
  "$program" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$build/" "$work" "${seeds[@]}"
done
[ "$found" -eq 1 ] || { echo "fuzz: no fuzz_* programs in $build/bin" >&2; exit 1; }
