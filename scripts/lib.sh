# Shared by the scripts: sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tol
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export PATH=$cache/tools:$PATH:$HOME/.cargo/bin

# `scripts/rocksdb` compiles RocksDB's C++ once for a machine and notes where. Without that note cargo compiles it as the crate does, in an hour.
rocksdb_version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"/\1/p}' "$root/Cargo.lock")
use_rocksdb() {
    [ -s "$cache/rocksdb/$rocksdb_version" ] || return 0
    ROCKSDB_LIB_DIR=$(cat "$cache/rocksdb/$rocksdb_version")
    export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
}
use_rocksdb

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

# environment NAME MAKE FILE...: prints a folder of the cache that is named for the content of the files, so that changed files make a new one.
# Where it is absent, `MAKE FOLDER FILE...` fills it; whoever asks for the same meanwhile waits.
environment() {
    local name=$1 make=$2 folder
    shift 2
    folder=$cache/$name-$(cat "$@" | cksum | cut -d ' ' -f 1)
    mkdir -p "$cache"
    (
        flock 9
        [ ! -f "$folder/.complete" ] || exit 0
        say "making $folder ..."
        rm -rf "$folder"
        mkdir "$folder"
        "$make" "$folder" "$@" >&2
        touch "$folder/.complete"
    ) 9> "$folder.lock" || fail "$folder could not be made; what kept it is above"
    printf '%s\n' "$folder"
}

# python_environment REQUIREMENTS: prints a Python environment with those packages.
python_environment() { environment python make_python_environment "$1"; }
make_python_environment() {
    python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
}

# node_environment PACKAGE_JSON: prints a folder with those packages in node_modules. The `npm` of the PATH installs them.
node_environment() { environment node make_node_environment "$1"; }
make_node_environment() {
    cp "$2" "$1/package.json" && (cd "$1" && npm install --silent --no-fund --no-audit)
}
