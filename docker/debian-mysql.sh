#!/usr/bin/env bash
# Unpacks a real MySQL server from Debian's packages into a folder, without touching the host's own packages.
#
#   docker/debian-mysql.sh unpack FOLDER    FOLDER/root holds the tree, FOLDER/mysqld and FOLDER/mysql start it
#   docker/debian-mysql.sh image TAG        the same tree as a Docker image FROM scratch (see mysql.Dockerfile)
#
# apt runs with sources, lists, cache and package state of its own: nothing is installed, no root is needed, and the mirror is the
# one that this machine's own apt sources name. LOCKKEEPER_DEBIAN_SUITE chooses another suite than sid.
set -euo pipefail

suite=${LOCKKEEPER_DEBIAN_SUITE:-sid}

fail() { echo "debian-mysql: $*" >&2; exit 1; }

# The first Debian mirror of this machine's apt sources, in either format (deb822 or one-line). Security and other vendors'
# archives have no sid and are passed over.
mirror() {
    {
        grep -hsE '^URIs:' /etc/apt/sources.list.d/*.sources | tr ' ' '\n' | grep -E '^https?://' || true
        grep -hsE '^deb ' /etc/apt/sources.list /etc/apt/sources.list.d/*.list | grep -oE 'https?://[^ ]+' || true
    } | sed 's#/*$##' | grep -E '/debian$' | head -n 1
}

keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        [ -r "$file" ] && { echo "$file"; return; }
    done
    fail "no Debian archive keyring on this machine; install debian-archive-keyring"
}

unpack() {
    local folder=$1 work uri
    command -v apt-get >/dev/null || fail "apt-get not found; put mysqld on PATH"
    command -v dpkg-deb >/dev/null || fail "dpkg-deb not found; put mysqld on PATH"
    uri=$(mirror)
    [ -n "$uri" ] || fail "no Debian mirror in this machine's apt sources; put mysqld on PATH"
    mkdir -p "$(dirname "$folder")"
    # Unpacked beside its final place and moved there in one step: an interrupted run leaves nothing that looks complete.
    work=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/apt/parts" "$work/root"
    : > "$work/apt/status"
    cat > "$work/apt/sources.sources" <<SOURCES
Types: deb
URIs: $uri
Suites: $suite
Components: main
Signed-By: $(keyring)
SOURCES
    local options=(
        -q
        -o "Dir::Etc::sourcelist=$work/apt/sources.sources" -o "Dir::Etc::sourceparts=$work/apt/parts"
        -o "Dir::Etc::preferences=/dev/null" -o "Dir::Etc::preferencesparts=$work/apt/parts"
        -o "Dir::State=$work/apt" -o "Dir::State::lists=$work/apt/lists" -o "Dir::State::status=$work/apt/status"
        -o "Dir::Cache=$work/apt/cache" -o "APT::Sandbox::User=" -o "Acquire::Languages=none" -o "Acquire::Retries=5"
        -o "APT::Install-Recommends=false" -o "Debug::NoLocking=true"
    )
    apt-get "${options[@]}" update >&2
    # Against an empty package state apt resolves the whole closure, the C library included.
    apt-get "${options[@]}" --yes --download-only install mysql-server-core mysql-client-core >&2
    local package
    for package in "$work"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$work/root"
    done
    link_library_folders "$work/root"
    rm -rf "$work/apt" "$work/root/usr/share/doc" "$work/root/usr/share/man" "$work/root/usr/share/locale"
    write_launcher "$work" mysqld usr/sbin/mysqld
    write_launcher "$work" mysql usr/bin/mysql
    "$work/mysqld" --no-defaults --version >&2 || fail "the unpacked mysqld does not start"
    rm -rf "$folder"
    mv -T "$work" "$folder"
    trap - EXIT
}

# Debian's packages rely on /lib and /lib64 being links into /usr.
link_library_folders() {
    local root=$1 name
    for name in lib lib64; do
        mkdir -p "$root/usr/$name"
        if [ -d "$root/$name" ] && [ ! -L "$root/$name" ]; then
            cp -a "$root/$name/." "$root/usr/$name/"
            rm -rf "${root:?}/$name"
        fi
        [ -L "$root/$name" ] || ln -s "usr/$name" "$root/$name"
    done
}

# A launcher that survives a move of the folder: the loader and the libraries are found beside it, not on the host.
write_launcher() {
    local work=$1 name=$2 program=$3
    cat > "$work/$name" <<'LAUNCHER'
#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd -P)
for loader in "$here"/root/usr/lib64/ld-linux-*.so.* "$here"/root/usr/lib/ld-linux-*.so.*; do
    [ -e "$loader" ] && break
done
libraries=$here/root/usr/lib
for folder in "$here"/root/usr/lib/*-linux-gnu "$here"/root/usr/lib/mysql/private; do
    [ -d "$folder" ] && libraries=$libraries:$folder
done
LAUNCHER
    echo "exec \"\$loader\" --library-path \"\$libraries\" \"\$here/root/$program\" \"\$@\"" >> "$work/$name"
    chmod 755 "$work/$name"
}

# A data folder to start from. Each container makes its own server name and keys.
initialize() {
    local mysqld=$1/mysqld root=$1/root user=()
    [ "$(id -u)" -ne 0 ] || user=(--user=root)
    "$mysqld" --no-defaults --initialize-insecure --datadir="$root/var/lib/mysql" "${user[@]}" \
        --lc-messages-dir="$root/usr/share/mysql" --character-sets-dir="$root/usr/share/mysql/charsets" \
        --plugin-dir="$root/usr/lib/mysql/plugin" --secure-file-priv=NULL --innodb-redo-log-capacity=8M >&2
    rm -f "$root"/var/lib/mysql/auto.cnf "$root"/var/lib/mysql/*.pem
}

image() {
    local tag=$1 context here
    here=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
    context=$(mktemp -d)
    # Expanded now: the variable is gone when the script ends.
    trap "rm -rf '$context'" EXIT
    unpack "$context/mysql"
    trap "rm -rf '$context'" EXIT
    mkdir -p "$context/mysql/root/tmp" "$context/mysql/root/var/lib/mysql" "$context/mysql/root/var/lib/mysql-files" \
             "$context/mysql/root/var/run/mysqld"
    chmod 1777 "$context/mysql/root/tmp"
    initialize "$context/mysql"
    docker build --tag "$tag" --file "$here/mysql.Dockerfile" "$context/mysql/root"
}

case "${1:-}" in
    unpack) [ $# -eq 2 ] || fail "usage: debian-mysql.sh unpack FOLDER"; unpack "$2" ;;
    image)  [ $# -eq 2 ] || fail "usage: debian-mysql.sh image TAG"; image "$2" ;;
    *)      fail "usage: debian-mysql.sh unpack FOLDER | image TAG" ;;
esac
