#!/usr/bin/env bash
# Every source file is as clang-format would write it (`make format` makes it so). Exit status 77: skipped.
set -euo pipefail
if ! command -v clang-format >/dev/null; then
  echo "SKIPPED: clang-format is not installed"
  exit 77
fi
cd "$(dirname "$0")/../.."
scripts/sources.sh | xargs -0 clang-format --dry-run -Werror
