#!/bin/sh
# Lays out the root folder of an image that runs one program and holds nothing else:
#   image-root PROGRAM ROOT
# The program, the shared libraries it needs, certificate authorities, a user and /tmp.
set -eu

program=$1
root=$2

install -d "$root/etc/ssl/certs" "$root/var/lib/dpkg/status.d"
install -d -m 1777 "$root/tmp"
install -m 755 "$program" "$root"

# Scanners learn from these which distribution and packages the libraries are of.
cp -L /etc/os-release "$root/etc"
record_package() {
  dpkg-query --search "*/$(basename "$(readlink -f "$1")")" | cut -d: -f1 | sort -u |
    while read -r package; do
      dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$package"
    done
}

for library in $(ldd "$program" | grep -o '/[^ ]*'); do
  cp -L --parents "$library" "$root"
  record_package "$library"
done

cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs"
record_package /usr/sbin/update-ca-certificates
echo 'farm:x:10001:10001::/tmp:/' >"$root/etc/passwd"
echo 'farm:x:10001:' >"$root/etc/group"
