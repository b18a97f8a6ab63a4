#!/usr/bin/env bash
# Makes the Debian package of a lockkeeper that is built already, with dpkg-deb alone: for machines without cargo-deb.
# The file list is the one of [package.metadata.deb] in Cargo.toml; tests/packaging.rs compares them.
#
#   packaging/deb.sh PROGRAM FOLDER     e.g. packaging/deb.sh target/release/lockkeeper target/debian
set -euo pipefail

fail() { echo "deb: $*" >&2; exit 1; }

[ $# -eq 2 ] || fail "usage: deb.sh PROGRAM FOLDER"
program=$1 folder=$2
[ -x "$program" ] || fail "$program is no program; run cargo build --release first"
command -v dpkg-deb >/dev/null || fail "dpkg-deb not found; it is part of Debian and its descendants"
root=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

version=$("$program" --version | awk '{ print $2 }')-1
architecture=$(dpkg --print-architecture)

put() { install -D -m "$1" "$2" "$tree/$3"; }
put 755 "$program" usr/bin/lockkeeper
put 644 "$root/packaging/lockkeeper.service" usr/lib/systemd/system/lockkeeper.service
put 600 "$root/packaging/config.toml" etc/lockkeeper/config.toml
put 644 "$root/README.md" usr/share/doc/lockkeeper/README.md
put 644 "$root/CHANGELOG.md" usr/share/doc/lockkeeper/CHANGELOG.md
for page in "$root"/docs/*.md; do
    put 644 "$page" "usr/share/doc/lockkeeper/docs/$(basename "$page")"
done
for example in alerts.yaml grafana/dashboards/lockkeeper.json; do
    put 644 "$root/docker/$example" "usr/share/doc/lockkeeper/examples/$(basename "$example")"
done
# As cargo-deb makes it of license-file.
put 644 "$root/LICENSE" usr/share/doc/lockkeeper/copyright
pages=$(mktemp -d)
trap 'rm -rf "$tree" "$pages"' EXIT
"$program" docs man "$pages"
for page in "$pages"/*.1; do
    put 644 "$page" "usr/share/man/man1/$(basename "$page")"
done
gzip -9n "$tree"/usr/share/man/man1/*
"$program" docs completions "$pages"
put 644 "$pages/lockkeeper.bash" usr/share/bash-completion/completions/lockkeeper
put 644 "$pages/_lockkeeper" usr/share/zsh/vendor-completions/_lockkeeper
put 644 "$pages/lockkeeper.fish" usr/share/fish/vendor_completions.d/lockkeeper.fish
strip --strip-debug "$tree/usr/bin/lockkeeper" 2>/dev/null || true

mkdir "$tree/DEBIAN"
echo /etc/lockkeeper/config.toml > "$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    grep -v '^#DEBHELPER#' "$root/packaging/debian/$script" > "$tree/DEBIAN/$script"
    chmod 755 "$tree/DEBIAN/$script"
done
# Of the C library the version that it was built with, or a later one; and whatever else it is linked to.
libc=$(dpkg-query --show --showformat='${Version}' libc6)
others=$(ldd "$program" | grep -oE '/[^ ]+' | while read -r library; do
    dpkg --search "$library" 2>/dev/null || dpkg --search "/usr$library"
done | cut -d: -f1 | sort -u | { grep -vx libc6 || true; } | sed 's/^/, /' | tr -d '\n')
cat > "$tree/DEBIAN/control" <<CONTROL
Package: lockkeeper
Version: $version
Architecture: $architecture
Maintainer: The Lockkeeper developers <lockkeeper@localhost>
Section: database
Priority: optional
Depends: libc6 (>= ${libc%%-*}), passwd$others
Installed-Size: $(du -sk "$tree" | cut -f1)
Description: Ordered online schema changes for fleets of MySQL servers
 Applies one schema change to many MySQL servers while applications write to
 them. Rules are stored procedures and views; this is the driver and the tool.
CONTROL
mkdir -p "$folder"
# gzip: the default takes minutes for a program with its symbols.
dpkg-deb --root-owner-group -Zgzip --build "$tree" "$folder/lockkeeper_${version}_${architecture}.deb"
