#!/usr/bin/env bash
# Builds cargo-deny to .tools/cargo-deny, once: a minute or two.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly version=0.20.2
readonly folder=.tools/cargo-deny

[ "$("$folder/bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $version" ] && exit 0
# It runs for a few seconds: a quick build beats quick code.
CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 CARGO_PROFILE_RELEASE_DEBUG=false \
  cargo install cargo-deny --locked --version "$version" --root "$folder"
