#!/usr/bin/env bash
# Installs the queues that `make bench-peers` compares with, below target/peers and nowhere else. What cannot be installed here is left out, and said.
set -uo pipefail
cd "$(dirname "$0")/../.."
place=$PWD/target/peers
mkdir -p "$place"

# Runs the rest of the line once; a mark says that it was done. The mark's name has the version, so that another version is another install.
once() {
    local mark=$place/done-$1
    shift
    if [ ! -e "$mark" ]; then
        if "$@" > "$place/install.log" 2>&1; then touch "$mark"; else echo "left out: $* ($place/install.log says why)"; fi
    fi
}

python_packages() {
    "${PYTHON:-python3}" -m venv "$place/venv"
    "$place/venv/bin/pip" install --disable-pip-version-check --quiet -r benches/peers/requirements.txt
}

# Debian packages are unpacked, not installed: they need no root, and nothing of them stays when target/ is removed.
debian_packages() {
    mkdir -p "$place/debian"
    (cd "$place/debian" && apt-get download task-spooler parallel && for package in *.deb; do dpkg -x "$package" .; done)
}

apalis() {
    cargo build --release --manifest-path benches/peers/apalis/Cargo.toml --target-dir "$place/apalis"
}

once "python-$(sha256sum benches/peers/requirements.txt | cut -c1-12)" python_packages
once "debian" debian_packages
once "pueue-4.0.4" cargo install pueue --version 4.0.4 --locked --root "$place"
once "apalis-$(cat benches/peers/apalis/Cargo.toml benches/peers/apalis/src/main.rs | sha256sum | cut -c1-12)" apalis
exit 0
