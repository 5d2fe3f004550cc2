#!/usr/bin/env bash
# Runs one queue of the comparison once, and prints how many tasks it did in a second.
#
#     run.sh {huey|dbos|apalis|pueue|task-spooler|parallel} {noop|command} TASKS AT_ONCE DIRECTORY
#     run.sh PEER version        fails when it is not installed
#
# DIRECTORY is empty, and holds all that the queue stores. Commands are /bin/true, and their time begins with the first submission. No-op functions are
# queued before it begins.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
place=$here/../../target/peers

if [ "${2:-}" = version ]; then
    case $1 in
    huey | dbos) "$place/venv/bin/pip" list --disable-pip-version-check --format freeze | grep "^$1=" ;;
    apalis) test -x "$place/apalis/release/apalis-peer" && sed -n 's/^\(apalis-sqlite\) .*version = "=\([0-9.]*\)".*/\1==\2/p' "$here/apalis/Cargo.toml" ;;
    pueue) "$place/bin/pueue" --version ;;
    task-spooler) "$place/task-spooler/usr/bin/tsp" -V | head -n 1 ;;
    parallel) "$place/parallel/usr/bin/parallel" --version | head -n 1 ;;
    *) exit 2 ;;
    esac
    exit
fi
peer=$1 kind=$2 tasks=$3 at_once=$4 directory=$5

# The name of a socket may have 107 bytes, so sockets lie where names are short.
sockets=$(mktemp -d)
trap 'rm -rf "$sockets"' EXIT

# Prints the rate since $began.
told() {
    awk -v tasks="$tasks" -v began="$began" -v now="$EPOCHREALTIME" 'BEGIN { print tasks / (now - began) }'
}

case $peer in
huey | dbos)
    "$place/venv/bin/python" "$here/${peer}_peer.py" "$kind" "$tasks" "$at_once" "$directory"
    ;;
apalis)
    "$place/apalis/release/apalis-peer" "$tasks" "$at_once" "$directory"
    ;;
pueue)
    # The environment of each submission is stored with it, and all of that is written again and again: so there is next to none.
    unset $(compgen -e | grep -vx PATH)
    export PATH=$place/bin:$PATH XDG_CONFIG_HOME=$directory/config XDG_DATA_HOME=$directory/data XDG_RUNTIME_DIR=$sockets
    mkdir -p "$XDG_CONFIG_HOME" "$XDG_DATA_HOME"
    pueued > "$directory/pueued.log" 2>&1 &
    daemon=$!
    trap 'kill "$daemon" 2> /dev/null || true; rm -rf "$sockets"' EXIT
    until pueue status > /dev/null 2>&1; do kill -0 "$daemon"; sleep 0.05; done
    pueue parallel "$at_once" > /dev/null
    began=$EPOCHREALTIME
    for ((task = 0; task < tasks; task++)); do pueue add -- /bin/true > /dev/null; done
    # `pueue wait` looks every two seconds only.
    while pueue status --json > "$directory/status" && grep -q -E '"(Queued|Running)": *[{]' "$directory/status"; do sleep 0.05; done
    told
    [ "$(grep -o '"result": *"Success"' "$directory/status" | wc -l)" = "$tasks" ]
    pueue shutdown > /dev/null
    wait
    ;;
task-spooler)
    export TS_SOCKET=$sockets/tsp TMPDIR=$directory
    tsp=$place/task-spooler/usr/bin/tsp
    "$tsp" -S "$at_once"
    began=$EPOCHREALTIME
    for ((task = 0; task < tasks; task++)); do "$tsp" -n /bin/true > /dev/null; done
    # They are numbered from 0. Those that were submitted last may still run beside each other.
    for ((task = tasks > at_once ? tasks - at_once : 0; task < tasks; task++)); do "$tsp" -w "$task" > /dev/null; done
    told
    "$tsp" -K
    ;;
parallel)
    export HOME=$directory
    began=$EPOCHREALTIME
    seq "$tasks" | "$place/parallel/usr/bin/parallel" --will-cite -j "$at_once" -n0 --joblog "$directory/joblog" /bin/true
    told
    ;;
*)
    echo "there is no peer $peer" >&2
    exit 2
    ;;
esac
