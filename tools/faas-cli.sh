#!/usr/bin/env bash
# Builds the real faas-cli, as pinned in tools/faas-cli, to .tools/bin/faas-cli: tests use it.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly binary=$PWD/.tools/bin/faas-cli
readonly pin=tools/faas-cli/go.sum

# The copy of the pin beside the binary says which one it was built from.
cmp --silent "$pin" "$binary.go.sum" && [ -x "$binary" ] && exit 0

command -v go >/dev/null || { echo "faas-cli is built with Go, which is not installed: see https://go.dev/dl" >&2; exit 1; }
mkdir -p "$(dirname "$binary")"
(cd tools/faas-cli && go build -mod=readonly -trimpath -o "$binary" github.com/openfaas/faas-cli)
cp "$pin" "$binary.go.sum"
echo "faas-cli: built at .tools/bin/faas-cli"
