#!/bin/sh
# Tests and builds the crate in the current folder, inside the builder image:
#   build-function ROOT
# ROOT becomes the root folder of the function's image.
set -eu

root=$1
sdk=/opt/rust-farm/source
sdk_version=$(cat /opt/rust-farm/version)
target=$(rustc --print host-tuple)

refuse() {
  echo "build-function: $*" >&2
  exit 1
}

# Succeeds if farm-sdk of this builder meets the version requirement $1, as cargo sees it.
meets() {
  probe=$(mktemp -d)
  mkdir "$probe/src"
  touch "$probe/src/lib.rs"
  printf '[package]\nname = "probe"\n[dependencies]\nfarm-sdk = "%s"\n[workspace]\n' "$1" >"$probe/Cargo.toml"
  cp "$sdk/Cargo.lock" "$probe"
  cargo generate-lockfile --quiet --offline --manifest-path "$probe/Cargo.toml" 2>/dev/null
}

# Without this, cargo would look for the other version elsewhere, and say that it found none.
agree_on_sdk() {
  described=$(cargo metadata --no-deps --offline --format-version 1)
  asked=$(echo "$described" | sed -n 's/.*"name":"farm-sdk","source":[^,]*,"req":"\([^"]*\)".*/\1/p')
  other="take the builder of that version (build argument FARM_VERSION)"
  if [ -n "$asked" ] && ! meets "$asked"; then
    refuse "Cargo.toml asks for farm-sdk $asked, this builder has $sdk_version: $other, or change Cargo.toml"
  fi
  [ -f Cargo.lock ] || return 0
  locked=$(sed -n '/^name = "farm-sdk"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
  if [ -n "$locked" ] && [ "$locked" != "$sdk_version" ]; then
    refuse "Cargo.lock has farm-sdk $locked, this builder has $sdk_version: $other, or run cargo update farm-sdk"
  fi
}

# The crate's own lock file is obeyed. Without one, the SDK's is where to start from, so that what
# is compiled already is what is needed. The network is used only if something is missing here.
fetch() {
  locked=--locked
  if [ ! -f Cargo.lock ]; then
    locked=
    cp "$sdk/Cargo.lock" .
  fi
  cargo fetch --quiet --offline $locked --target "$target" 2>/dev/null ||
    cargo fetch $locked --target "$target"
}

# Tests share the profile of the binary, so that what both depend on is compiled once.
compile() {
  cargo test --frozen --release
  installed=$(mktemp -d)
  # shellcheck disable=SC2086 # nothing, or one word
  cargo ${FARM_SBOM:+auditable} install --frozen --no-track --path . --root "$installed"
}

# The crate may have any name; the image runs its one binary as /function.
only_binary() {
  set -- "$installed"/bin/*
  [ $# -eq 1 ] || refuse "the function must have one binary, not $#: $*"
  mv "$1" "$installed/function"
}

agree_on_sdk
fetch
compile
only_binary
image-root "$installed/function" "$root"
