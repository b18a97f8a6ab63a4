#!/usr/bin/env bash
# Makes an image FROM scratch of a lockkeeper that is built already, with the libraries that it is linked to.
#
#   docker/driver-image.sh PROGRAM TAG     e.g. docker/driver-image.sh target/release/lockkeeper lockkeeper
set -euo pipefail

fail() { echo "driver-image: $*" >&2; exit 1; }

[ $# -eq 2 ] || fail "usage: driver-image.sh PROGRAM TAG"
program=$1 tag=$2
[ -x "$program" ] || fail "$program is no program; run cargo build --release first"
here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

install -D -m 755 "$program" "$context/usr/bin/lockkeeper"
# The loader and every library at the paths that the program looks for them; those that glibc loads by name too.
{
    ldd "$program" | grep -oE '/[^ ]+'
    # awk reads to the end: a reader that leaves early would fail the pipe.
    for library in libnss_files.so.2 libnss_dns.so.2 libresolv.so.2; do
        ldconfig -p | awk -v name="$library" '$1 == name && !seen++ { print $NF }'
    done
} | sort -u | while read -r library; do
    install -D -m 755 "$library" "$context$library"
done
mkdir -p "$context/tmp" "$context/etc"
chmod 1777 "$context/tmp"
echo 'hosts: files dns' > "$context/etc/nsswitch.conf"
docker build --tag "$tag" --file "$here/driver-scratch.Dockerfile" "$context"
