#!/usr/bin/env bash
# build.sh SOURCE BUILD: builds the page of SOURCE (this folder) into BUILD/dist, working in BUILD alone. Where npm cannot
# (not installed, no network) BUILD/dist stays empty, the reason is said in one line, and the exit status is 0: the program
# is built all the same and says at / how to get the page. An error in the page's own sources is a failure.
set -uo pipefail
source="$1" build="$2"
mkdir -p "$build" && cd "$build" || exit 1
rm -rf dist src && mkdir dist || exit 1

without() {
  echo "lathe is built without its web page: $1 (later: make page)"
  exit 0
}
command -v node >/dev/null && command -v npm >/dev/null || without "node and npm are not installed"
node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' || without "node is older than 18"

cp -R "$source/src" "$source/index.html" "$source/package.json" "$source/package-lock.json" "$source/tsconfig.json" \
  "$source/vite.config.ts" . || exit 1
if ! cmp -s package-lock.json node_modules/.installed; then
  # No retries, and no longer than a minute: the program's build waits for this.
  status=0
  timeout 60 npm ci --ignore-scripts --no-audit --no-fund --fetch-retries 0 --prefer-offline >npm.log 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    if [ "$status" -eq 124 ] || grep -qE 'ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|ECONNRESET|ERR_SOCKET' npm.log; then
      without "no network for npm ci"
    fi
    cat npm.log
    exit 1
  fi
  cp package-lock.json node_modules/.installed
fi
node_modules/.bin/vite build --logLevel warn --outDir dist --emptyOutDir || exit 1
# Compressed once, here, rather than for every request (-n: the same bytes from every build).
find dist -type f \( -name '*.html' -o -name '*.js' -o -name '*.css' -o -name '*.svg' \) -exec gzip -9 -n -k {} +
