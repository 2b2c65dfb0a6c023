#!/usr/bin/env bash
# Builds cargo-deny to .tools/cargo-deny, once: a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly version=0.20.2
readonly folder=.tools/cargo-deny

[ "$("$folder/bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $version" ] && exit 0
# It runs for a second: a quick build beats quick code.
CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
  cargo install cargo-deny --locked --version "$version" --root "$folder"
