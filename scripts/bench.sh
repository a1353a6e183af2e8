#!/usr/bin/env bash
# bench.sh [--quick] [--rounds N] [--time-budget MINUTES] [--plan] [CONTENDER...]
#
# Measures ringwire beside the raw TCP floors and other WebSocket servers on this machine: builds and
# installs who is missing, then calls `ringwire-loadtest suite`, which does the rest and has all
# options; `bench.sh --help` shows them. Every server has all its threads on core 0, the generator
# core 1; rounds are interleaved (A B C, A B C, ...) so that a noisy minute weighs on all alike.
# Writes BENCHMARKS.md, docs/benchmarks.html and benches/results/published.json; with --quick or any
# choice of what to run its reports go to OUT instead.
#
# CONTENDER  floor-epoll floor-uring ringwire bun node-ws nginx-proxy nchan fastwebsockets sockudo-ws
#            tokio-tungstenite tokio-uring (default: all), or NAME=PATH: another ringwire program,
#            such as before=/tmp/ringwire after=target/release/ringwire
#
# RINGWIRE, SHARED_ECHO, LOADTEST   programs that are not to be built here
# SERVE_ARGS="--log warn"           further arguments of `serve`
# SECONDS_EACH=1                    measured seconds of a run, at most
# SCENARIOS="100,1,32,text ..."     of echo: connections,depth,bytes,kind
# FANOUTS="1000,64 ..."             of fanout: subscribers,bytes
# IDLE="10000 ..."                  idle connections; empty for none
# ONLY="echo ..."                   of echo churn fanout busy open shards shared control idle micro
# OUT=target/bench PORT=7400        where the runs and logs go; first of two ports for each contender
# Exit status: 0 even if a contender was left out, which the output says; 1 without any result.
set -euo pipefail
cd "$(dirname "$0")/.."

here=loadtest/contenders
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} OUT=${OUT:-target/bench}
target=$CARGO_TARGET_DIR logs=$OUT/logs suite=$CARGO_TARGET_DIR/release/ringwire-loadtest
mkdir -p "$logs"

cargo build --release --quiet --package ringwire-loadtest
[[ " $* " != *" --help "* && " $* " != *" -h "* ]] || exec "$suite" suite --help
chosen=$("$suite" suite --list "$@")
wants() { grep -qx "$1" <<< "$chosen"; }
measures() { [[ " ${ONLY:-shared micro} " == *" $1 "* ]]; }

install_debian() {
    local missing=()
    { ! wants nginx-proxy && ! wants nchan; } || command -v nginx > /dev/null || missing+=(nginx)
    ! wants nchan || dpkg -s libnginx-mod-nchan > /dev/null 2>&1 || missing+=(libnginx-mod-nchan)
    { ! wants node-ws && ! wants nginx-proxy && ! wants bun; } || command -v npm > /dev/null ||
        missing+=(nodejs npm)
    ((${#missing[@]} > 0)) || return 0
    [[ $(id -u) = 0 ]] || { echo "not installed, for want of root: ${missing[*]}"; return 0; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "${missing[@]}" > "$logs/install.log" 2>&1 ||
        { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } \
            >> "$logs/install.log" 2>&1 || echo "not installed: ${missing[*]} (see $logs/install.log)"
}

install_npm() {
    local folder=$here/$1
    [[ ! $folder/node_modules/.package-lock.json -nt $folder/package-lock.json ]] || return 0
    npm ci --prefix "$folder" --no-audit --no-fund --loglevel=error > "$logs/npm-$1.log" 2>&1 ||
        echo "not installed: $1 (see $logs/npm-$1.log)"
}

install_debian
! wants bun || install_npm bun
{ ! wants node-ws && ! wants nginx-proxy; } || install_npm node-ws
! wants ringwire || [[ -n ${RINGWIRE:-} ]] || cargo build --release --quiet --package ringwire
! wants ringwire || ! measures shared || [[ -n ${SHARED_ECHO:-} ]] ||
    cargo build --release --quiet --package ringwire --example shared_echo
! measures micro || cargo bench --quiet --no-run --bench micro
! grep -qxE 'fastwebsockets|sockudo-ws|tokio-tungstenite|tokio-uring' <<< "$chosen" ||
    cargo build --release --quiet --manifest-path "$here/rust/Cargo.toml" \
        --target-dir "$target/contenders" --features contender-tokio-uring ||
    echo "not built: the contenders in $here/rust"

exec "$suite" suite "$@"
