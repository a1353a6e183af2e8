#!/usr/bin/env bash
# What scripts/bench.sh knows of its contenders: how they are installed, started, stopped and what
# version they are. Sourced by it; uses its variables `chosen`, `here`, `target`, `out`, `port`,
# `scratch`, `only`, `shards`, `destinations`, `policy` and `example`, sets `load`, `ringwire` and
# `shared_echo`, and fills `names`, `addresses`, `modes` and `pids`, all by index.
# shellcheck disable=SC2034,SC2154

RUST=" fastwebsockets sockudo-ws tokio-tungstenite tokio-uring "
SERVER_CORE=0

wants() { [[ " ${chosen[*]} " == *" $1 "* ]]; }

install_debian() {
    local missing=()
    { ! wants nginx-proxy && ! wants nchan; } || command -v nginx > /dev/null || missing+=(nginx)
    ! wants nchan || dpkg -s libnginx-mod-nchan > /dev/null 2>&1 || missing+=(libnginx-mod-nchan)
    { ! wants node-ws && ! wants nginx-proxy && ! wants bun; } || command -v npm > /dev/null ||
        missing+=(nodejs npm)
    ((${#missing[@]} > 0)) || return 0
    if [[ $(id -u) != 0 ]]; then
        note "not installed, for want of root: ${missing[*]}"
        return 0
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "${missing[@]}" > "$out/logs/install.log" 2>&1 ||
        { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } \
            >> "$out/logs/install.log" 2>&1 ||
        note "not installed: ${missing[*]} (see $out/logs/install.log)"
}

install_npm() {
    local folder
    for folder in bun node-ws; do
        wants "$folder" || { [[ $folder = node-ws ]] && wants nginx-proxy; } || continue
        [[ ! $here/$folder/node_modules/.package-lock.json -nt $here/$folder/package-lock.json ]] ||
            continue
        npm ci --prefix "$here/$folder" --no-audit --no-fund --loglevel=error \
            > "$out/logs/npm-$folder.log" 2>&1 ||
            note "not installed: $folder (see $out/logs/npm-$folder.log)"
    done
}

build() {
    local name
    load=${LOADTEST:-$target/release/ringwire-loadtest}
    [[ -n ${LOADTEST:-} ]] || cargo build --release --quiet --package ringwire-loadtest
    ringwire=${RINGWIRE:-$target/release/ringwire}
    [[ -n ${RINGWIRE:-} ]] || ! wants ringwire || cargo build --release --quiet --package ringwire
    shared_echo=${SHARED_ECHO:-$target/release/examples/shared_echo}
    [[ $only != *" shared "* || -n ${SHARED_ECHO:-} ]] || ! wants ringwire ||
        cargo build --release --quiet --package ringwire --example shared_echo
    [[ $only != *" micro "* ]] || cargo bench --quiet --no-run --bench micro
    for name in $RUST; do
        wants "$name" || continue
        cargo build --release --quiet --manifest-path "$here/rust/Cargo.toml" \
            --target-dir "$target/contenders" --features contender-tokio-uring ||
            note "not built: the contenders in $here/rust"
        return 0
    done
}

# Puts the command line of contender $1 that is to listen on $2 into `server_command`.
describe() {
    local name=$1 address=$2 folder=$scratch/$1 number
    case $name in
        floor-epoll | floor-uring)
            server_command=("$load" floor --listen "$address" --driver "${name#floor-}") ;;
        ringwire | *=*)
            local program=$ringwire
            [[ $name != *=* ]] || program=${name#*=}
            # No contender writes a line for each connection. The arguments are words on purpose.
            # shellcheck disable=SC2206
            server_command=("$program" serve --shards "$shards" --admin off ${SERVE_ARGS:---log warn})
            for ((number = 1; number <= destinations; number++)); do
                server_command+=(--listen "127.0.0.$number:${address#*:}")
            done
            [[ -z $example ]] || server_command=("$example" "$address" "$shards") ;;
        bun) server_command=("$here/bun/node_modules/.bin/bun" "$here/bun/server.ts" "$address") ;;
        node-ws) server_command=(node "$here/node-ws/server.mjs" "$address") ;;
        nginx-proxy | nchan)
            mkdir -p "$folder"
            server_command=("$here/$name/run" "$address" "$folder") ;;
        *) server_command=("$target/contenders/release/$name" "$address") ;;
    esac
}

# Starts the server of index $1, in a process group of its own and stopped once its port answers.
start() {
    local name=${chosen[$1]} address=127.0.0.1:$((port + 2 * $1)) log tries
    log=$out/logs/${name%%=*}.log
    describe "$name" "$address"
    names[$1]=${name%%=*} addresses[$1]=$address pids[$1]=0 modes[$1]=''
    [[ $name != floor-* ]] || modes[$1]=--raw
    if ! command -v "${server_command[0]}" > /dev/null; then
        note "left out: ${names[$1]} (${server_command[0]} is not there)"
        return 1
    fi
    setsid chrt "${policy:---other}" 0 taskset -c "$SERVER_CORE" "${server_command[@]}" > "$log" 2>&1 &
    pids[$1]=$!
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "${pids[$1]}" 2>/dev/null || break
        if (exec 3<> "/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; then
            await_rest "${pids[$1]}"
            kill -STOP -- "-${pids[$1]}"
            return 0
        fi
        sleep 0.1
    done
    note "left out: ${names[$1]} (does not listen on $address: $(tail -n 1 "$log"))"
    stop "$1"
    return 1
}

# A server listens before all its threads have made what they need, which would count as the memory
# of connections.
await_rest() {
    local before='' now tries
    for ((tries = 0; tries < 50; tries++)); do
        now=$(awk '/^VmRSS/ { print $2 }' "/proc/$1/status")
        [[ $now != "$before" ]] || return 0
        before=$now
        sleep 0.2
    done
}

# A stopped process hears nothing but KILL until it goes on.
stop() {
    local pid=${pids[$1]} tries
    ((pid > 0)) || return 0
    pids[$1]=0
    kill -TERM -- "-$pid" 2>/dev/null || true
    kill -CONT -- "-$pid" 2>/dev/null || true
    for ((tries = 0; tries < 50; tries++)); do
        kill -0 -- "-$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

version_of() {
    local lock=$here/rust/Cargo.lock
    case $1 in
        ringwire) "$ringwire" --version ;;
        floor-*) "$load" --version ;;
        bun) echo "bun $("$here/bun/node_modules/.bin/bun" --version)" ;;
        node-ws) node -p "'ws ' + require('./$here/node-ws/node_modules/ws/package.json').version +
            ', bufferutil ' + require('./$here/node-ws/node_modules/bufferutil/package.json').version +
            ', Node.js ' + process.version" ;;
        nginx-proxy) echo "$(nginx -v 2>&1 | sed 's/^nginx version: //'), $(version_of node-ws)" ;;
        nchan) dpkg-query -W -f '${Package} ${Version}' libnginx-mod-nchan ;;
        *=*) "${1#*=}" --version ;;
        *) awk -v name="$1" '$3 == "\"" name "\"" { getline; gsub("\"", ""); print name, $3 }' "$lock" ;;
    esac
}
