#!/usr/bin/env bash
# install-packages.sh [LIST]: installs the packages of LIST (packages.txt) that are missing; says and does nothing when
# none is. Names may carry an architecture, as in libfmt-dev:arm64.
set -euo pipefail
list="${1:-$(dirname "$0")/packages.txt}"

if ! command -v dpkg-query >/dev/null; then
  echo "install-packages: no dpkg here; install the equivalents of $list yourself" >&2
  exit 0
fi
mapfile -t wanted < <(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$list" | awk '{print $1}')
# A package counts as installed when another provides it (npm inside a newer nodejs).
installed="$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Package}:${Architecture} ${Provides}\n' 2>/dev/null |
  sed -n 's/^installed //p' | sed 's/([^)]*)//g' | tr ', ' '\n\n')"
mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}" | sort -u) <(sort -u <<<"$installed"))
[ "${#missing[@]}" -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install-packages: not root and no sudo; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "installing: ${missing[*]}" >&2
for package in "${missing[@]}"; do
  case "$package" in *:*) "${as_root[@]}" dpkg --add-architecture "${package##*:}" ;; esac
done
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
