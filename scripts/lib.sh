# Shared by the scripts: sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tol
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export PATH=$cache/tools:$PATH:$HOME/.cargo/bin

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# A port that was free a moment ago; the node takes it right away.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The binary under test: TOL_BIN, or the release build.
tol_bin() {
    local bin=${TOL_BIN:-$CARGO_TARGET_DIR/release/tol}
    [ -x "$bin" ] || fail "$bin does not exist; run make build, or set TOL_BIN"
    printf '%s\n' "$bin"
}

# wait_ready URL PID LOG: until the node is ready; ends with the log's tail when the node ends or 60 s have passed.
wait_ready() {
    for _ in $(seq 600); do
        if curl -fsS -o /dev/null "$1/readyz" 2> /dev/null; then return 0; fi
        kill -0 "$2" 2> /dev/null || break
        sleep 0.1
    done
    tail -n 30 "$3" >&2
    fail "the node did not get ready; its log is above"
}

# stop_process PID: TERM, and KILL after 20 s.
stop_process() {
    kill -TERM "$1" 2> /dev/null || return 0
    for _ in $(seq 200); do
        kill -0 "$1" 2> /dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2> /dev/null || true
}
