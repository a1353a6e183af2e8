#!/usr/bin/env bash
# Measures ringwire against the raw floors on one machine: the server on core 0, the generator on
# core 1, rounds interleaved so that a noisy minute hits every contender alike.
#
#   scripts/measure.sh [rounds]
#
# Environment:
#   RINGWIRE=path      the server binary      (default: target/release/ringwire, built here)
#   NAME=ringwire      what the table calls it
#   RINGWIRE_ARGS=...  its arguments          (default: serve --shards 1 --listen 127.0.0.1:PORT)
#   RINGWIRE_PATH=/x   the echo route         (default: /echo)
#   SECONDS_EACH=1     measured seconds of a run
#   SCENARIOS="..."    connections,depth,bytes,kind; separated by spaces
#   IDLE=10000         idle connections, 0 for none
#   OUT=file           keeps the JSON lines of all runs there
#   PORT=7400          first of three ports
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-5}
seconds=${SECONDS_EACH:-1}
scenarios=${SCENARIOS:-"100,1,32,text 100,16,32,text 10,1,1048576,binary 100,1,16384,binary"}
idle=${IDLE:-10000}
port=${PORT:-7400}
route=${RINGWIRE_PATH:-/echo}
scratch=$(mktemp -d)
results=${OUT:-$scratch/results.jsonl}
: > "$results"

pids=()
finish() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

cargo build --release --quiet --package ringwire-loadtest
load=${CARGO_TARGET_DIR:-target}/release/ringwire-loadtest
if [[ -z ${RINGWIRE:-} ]]; then
    cargo build --release --quiet --package ringwire
    RINGWIRE=${CARGO_TARGET_DIR:-target}/release/ringwire
fi

names=() urls=() modes=() servers=()

# start NAME URL MODE COMMAND...: a contender counts once its port answers.
start() {
    local name=$1 url=$2 mode=$3
    shift 3
    if [[ ! -x $1 ]]; then
        echo "skipped: $name ($1 is not there)"
        return
    fi
    taskset -c 0 "$@" > "$scratch/$name.log" 2>&1 &
    local pid=$!
    pids+=("$pid")
    local address=${url#*://}
    address=${address%%/*}
    for _ in $(seq 50); do
        if (exec 3<> "/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; then
            names+=("$name") urls+=("$url") modes+=("$mode") servers+=("$pid")
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "skipped: $name (does not listen on $address: $(tail -n 1 "$scratch/$name.log"))"
}

start floor-epoll "tcp://127.0.0.1:$port" --raw \
    "$load" floor --listen "127.0.0.1:$port" --driver epoll
start floor-uring "tcp://127.0.0.1:$((port + 1))" --raw \
    "$load" floor --listen "127.0.0.1:$((port + 1))" --driver uring
engine_args=${RINGWIRE_ARGS:-serve --shards 1 --listen 127.0.0.1:$((port + 2))}
# The arguments are words on purpose.
# shellcheck disable=SC2086
start "${NAME:-ringwire}" "ws://127.0.0.1:$((port + 2))$route" "" "$RINGWIRE" $engine_args

echo "machine   $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
echo "kernel    $(uname -r)"
echo "tcp       $(cat /proc/sys/net/ipv4/tcp_congestion_control)"
echo "commit    $(git describe --always --dirty 2>/dev/null || echo unknown)"
echo "load      $(cut -d ' ' -f 1-3 /proc/loadavg) before the first run"
echo "runs      $rounds rounds of $seconds s, 0.5 s warm-up, server on core 0, generator on core 1"

# run ARGUMENTS...: one JSON line, or one line that says what went wrong.
run() {
    if ! timeout 60 taskset -c 1 "$load" "$@" --json >> "$results" 2> "$scratch/error"; then
        echo "failed: $* ($(tail -n 1 "$scratch/error"))"
    fi
}

for ((round = 1; round <= rounds; round++)); do
    for scenario in $scenarios; do
        IFS=, read -r connections depth bytes kind <<< "$scenario"
        for i in "${!names[@]}"; do
            # A mode is one flag or nothing.
            # shellcheck disable=SC2086
            run echo "${urls[i]}" ${modes[i]} --label "${names[i]}" \
                --server-pid "${servers[i]}" --connections "$connections" --depth "$depth" \
                --bytes "$bytes" --kind "$kind" --seconds "$seconds" --warmup 0.5
        done
    done
done
if ((idle > 0)); then
    for i in "${!names[@]}"; do
        # shellcheck disable=SC2086
        run idle "${urls[i]}" ${modes[i]} --label "${names[i]}" --server-pid "${servers[i]}" \
            --connections "$idle" --hold 0.2
    done
fi
"$load" compare "$results"
