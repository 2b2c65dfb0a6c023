#!/usr/bin/env bash
# Makes a Python environment of its own: tools/venv.sh FOLDER REQUIREMENTS [PIP OPTIONS]
set -euo pipefail
folder=$1 requirements=$2
shift 2

rm -rf "$folder"
if ! python3 -m venv "$folder"; then
  rm -rf "$folder"
  echo "cannot make a Python environment: install Python's venv module (Debian: apt install python3-venv)" >&2
  exit 1
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" "$@"
