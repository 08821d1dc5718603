#!/usr/bin/env bash
# parts.sh PAGE OUT: checks the types of the page built in PAGE, strictly, and runs parts_test.mjs on its modules, compiled
# into OUT. Exit status 77 (skipped) where the page was not built.
set -uo pipefail
[ -x "$1/node_modules/.bin/tsc" ] || { echo "SKIPPED: typescript is not installed (npm ci could not run)"; exit 77; }
"$1/node_modules/.bin/tsc" --noEmit -p "$1" || exit 1
rm -rf "$2" && mkdir -p "$2" && echo '{"type": "module"}' >"$2/package.json" || exit 1
for module in api/events api/status chat/sampling chat/transfer chat/tree markdown/blocks markdown/inline parts/graph; do
  mkdir -p "$2/$(dirname "$module")"
  "$1/node_modules/.bin/esbuild" "$1/src/$module.ts" --format=esm --platform=neutral --bundle --log-level=error --outfile="$2/$module.js" || exit 1
done
LATHE_PARTS="$2" exec node --test "$(dirname "$0")/parts_test.mjs"
