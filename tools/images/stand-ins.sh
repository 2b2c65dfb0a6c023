#!/usr/bin/env bash
# Makes the base images that no registry gives, from what this machine has, under the same names:
#   stand-ins.sh RUST_IMAGE NATS_IMAGE NATS_SERVER
# RUST_IMAGE becomes a debootstrapped Debian with a C compiler and this machine's Rust toolchain;
# NATS_IMAGE holds the program NATS_SERVER alone. Each name that is a stand-in is printed.
set -euo pipefail

readonly rust_image=$1 nats_image=$2
nats_server=$(realpath "$3")
readonly nats_server
readonly debian=rust-farm/stand-in-debian:bookworm
work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT

there() { docker image inspect "$1" >/dev/null 2>&1; }
is_stand_in() { [ "$(docker image inspect --format '{{index .Config.Labels "stand-in"}}' "$1")" = true ]; }

# Succeeds if there is nothing to make.
have() {
  there "$1" || docker pull --quiet "$1" >/dev/null 2>&1 || return 1
  if is_stand_in "$1"; then echo "$1"; fi
}

make_debian() {
  command -v debootstrap >/dev/null || { echo "$rust_image cannot be pulled, and debootstrap is not installed to make a stand-in" >&2; exit 1; }
  debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$work/debian" >&2
  # The registries that this machine trusts are trusted in its images.
  cp -L /etc/ssl/certs/ca-certificates.crt "$work/debian/etc/ssl/certs/ca-certificates.crt"
  tar -C "$work/debian" -c --exclude=./var/cache/apt/archives/*.deb . | docker import - "$debian" >&2
  rm -rf "$work/debian"
}

make_rust() {
  local toolchain
  toolchain=$(rustc --print sysroot)
  cat >"$work/Dockerfile" <<END
FROM $debian
ENV PATH=/usr/local/cargo/bin:/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/usr/local/cargo
COPY bin /usr/local/rust/bin
COPY lib /usr/local/rust/lib
LABEL stand-in=true
END
  tar -c -C "$work" Dockerfile -C "$toolchain" bin/cargo bin/rustc bin/rustdoc lib |
    docker build --quiet --tag "$rust_image" - >&2
  echo "$rust_image"
}

make_nats() {
  cat >"$work/Dockerfile" <<END
FROM scratch
COPY nats-server /nats-server
ENTRYPOINT ["/nats-server"]
LABEL stand-in=true
END
  tar -c -C "$work" Dockerfile -C "$(dirname "$nats_server")" "$(basename "$nats_server")" |
    docker build --quiet --tag "$nats_image" - >&2
  echo "$nats_image"
}

if ! have "$rust_image"; then
  there "$debian" || make_debian
  make_rust
fi
have "$nats_image" || make_nats
