#!/usr/bin/env bash
# Installs the queues that `make bench-peers` compares with, below target/peers and nowhere else. What cannot be installed here is left out, and said.
set -uo pipefail
cd "$(dirname "$0")/../.."
place=$PWD/target/peers
mkdir -p "$place"

# once NAME VERSION COMMAND...: runs the command once. A mark says that it was done; it names the version, so that another version is another install.
once() {
    local name=$1 mark=$place/done-$1-$2
    shift 2
    if [ ! -e "$mark" ]; then
        echo "installing $name below target/peers"
        if "$@" > "$place/$name.log" 2>&1; then touch "$mark"; else echo "left out: $name; target/peers/$name.log says why"; fi
    fi
}

# Says in one word what the content of files is.
version_of() {
    cat "$@" | sha256sum | cut -c1-12
}

python_packages() {
    "${PYTHON:-python3}" -m venv --clear "$place/venv" \
        && "$place/venv/bin/pip" install --disable-pip-version-check --quiet -r benches/peers/requirements.txt
}

# A Debian package is unpacked, not installed: that needs no root, and nothing of it stays when target/ is removed. The lists of packages may be missing; only
# root can have them fetched.
debian_package() {
    local package=$1
    rm -rf "$place/$package" && mkdir -p "$place/$package" && cd "$place/$package" || return
    apt-get download "$package" || { apt-get update && apt-get download "$package"; } || return
    dpkg -x "$package"_*.deb .
}

apalis() {
    cargo build --release --locked --manifest-path benches/peers/apalis/Cargo.toml --target-dir "$place/apalis"
}

once python-packages "$(version_of benches/peers/requirements.txt)" python_packages
once task-spooler debian debian_package task-spooler
once parallel debian debian_package parallel
once apalis "$(version_of benches/peers/apalis/Cargo.* benches/peers/apalis/src/main.rs)" apalis
once pueue 4.0.4 cargo install pueue --version 4.0.4 --locked --root "$place"
exit 0
