#!/usr/bin/env bash
# Runs every libFuzzer program of build folder $1 for $2 seconds each (default 30), or only those named after them
# ("gguf model"). Corpora grow in $1/corpus from seeds made by write_fuzz_seeds; findings are kept in $1/findings.
set -euo pipefail
build="$1" seconds="${2:-30}"
shift "$(($# < 2 ? $# : 2))"
root="$(cd "$(dirname "$0")/.." && pwd)"
programs=()
if [ $# -gt 0 ]; then
  for name in "$@"; do programs+=("$build/bin/fuzz_$name"); done
else
  programs=("$build"/bin/fuzz_*)
fi
[ -x "${programs[0]}" ] || { echo "fuzz: no fuzz_* programs in $build/bin" >&2; exit 1; }
mkdir -p "$build/findings"
failed=()
for program in "${programs[@]}"; do
  name="$(basename "$program")" && name="${name#fuzz_}"
  corpus="$build/corpus/$name"
  mkdir -p "$corpus"
  "$build/bin/write_fuzz_seeds" "$name" "$corpus"
  options=()
  for dictionary in "$root/tests/fuzz/dictionaries/$name.dict"; do
    [ -f "$dictionary" ] && options+=("-dict=$dictionary")
  done
  echo "== $name, $seconds s"
  # The limit is on what one input may take; the sanitizer's own tables and quarantine come on top.
  ASAN_OPTIONS="quarantine_size_mb=16:${ASAN_OPTIONS:-}" "$program" -max_total_time="$seconds" -rss_limit_mb=256 \
    -malloc_limit_mb=200 -timeout=5 -max_len=65536 -print_final_stats=1 -verbosity=0 "${options[@]}" \
    -artifact_prefix="$build/findings/$name-" "$corpus" || failed+=("$name")
done
[ "${#failed[@]}" -eq 0 ] || { echo "fuzz: failed: ${failed[*]} (inputs in $build/findings)" >&2; exit 1; }
