#!/usr/bin/env bash
# npm_ci.sh SOURCE TARGET: installs what SOURCE/package-lock.json names into TARGET. Exit status 77 (skipped) without npm or
# network; a lock file that does not fit is a failure.
set -uo pipefail
command -v npm >/dev/null && command -v node >/dev/null || { echo "SKIPPED: node and npm are not installed"; exit 77; }
mkdir -p "$2" && cp "$1/package.json" "$1/package-lock.json" "$2/" && cd "$2" || exit 1
if cmp -s package-lock.json node_modules/.installed; then exit 0; fi
if npm ci --no-audit --no-fund >npm.log 2>&1; then
  cp package-lock.json node_modules/.installed
  exit 0
fi
cat npm.log
if grep -qE 'ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|ECONNRESET' npm.log; then
  echo "SKIPPED: no network for npm ci"
  exit 77
fi
exit 1
