#!/usr/bin/env bash
# The page in a browser; exit status 77 (skipped) where something it needs is missing. See page_test.mjs for the environment.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
skip() { echo "SKIPPED: $1"; exit 77; }
LATHE_CHROMIUM="$(command -v chromium)" || skip "chromium is not installed"
[ -f "$LATHE_PAGE/index.html" ] || skip "lathe was built without its page (npm could not run)"
[ -d "$LATHE_NODE_MODULES/node_modules/playwright-core" ] || skip "playwright-core is not installed (npm ci could not run)"
export LATHE_CHROMIUM
exec node --test page_test.mjs
