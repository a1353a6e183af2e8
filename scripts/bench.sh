#!/usr/bin/env bash
# bench.sh [--quick] [--rounds N] [--time-budget MINUTES] [--plan] [CONTENDER...]
#
# Measures ringwire beside the raw TCP floors and other WebSocket servers on this machine: every
# server with all its threads on core 0, the generator on core 1, rounds interleaved (A B C, A B C,
# ...) so that a noisy minute weighs on all alike. While one is measured the others are stopped.
# Installs what is missing, checks that every contender echoes correctly, runs, prints tables and
# writes BENCHMARKS.md and docs/benchmarks.html; with --quick or any choice of what to run these go
# to OUT instead.
#
# CONTENDER  floor-epoll floor-uring ringwire bun node-ws nginx-proxy nchan fastwebsockets
#            sockudo-ws tokio-tungstenite tokio-uring (default: all), or NAME=PATH: another
#            ringwire program, such as before=/tmp/ringwire after=target/release/ringwire
# --quick    3 rounds of 0.5 s and few scenarios, for trying
# --time-budget MINUTES
#            what the runs may take, without what is installed and built (default: 35; 0: any
#            time). Runs become shorter, down to 0.4 s, until they fit by the plan; if they do not
#            fit then either, or prove slower, there are fewer rounds, but 3 at least. Lines on the
#            way say how much is left.
# --plan     installs, builds, checks, says how long it would take, and ends
#
# RINGWIRE=path      the program of `ringwire`  (default: target/release/ringwire, built here)
# SERVE_ARGS=...     further arguments of `serve` (default: --log warn)
# SHARED_ECHO=path   the example of that name    (default: built here)
# LOADTEST=path      the generator               (default: built here)
# SECONDS_EACH=1     measured seconds of a run, at most; those at a fixed rate take 2
# SCENARIOS="..."    of echo: connections,depth,bytes,kind; separated by spaces
# FANOUTS="..."      of fanout: subscribers,bytes; separated by spaces
# IDLE="10000 ..."   idle connections, each with servers just started; empty for none
# ONLY="echo ..."    of echo churn fanout busy open shards shared control idle micro
# OUT=target/bench   where results.jsonl, the servers' logs and the report go
# PORT=7400          first of two ports for each contender
# Exit status: 0 even if a contender was left out, which the output says; 1 without any result.
set -euo pipefail
cd "$(dirname "$0")/.."

ALL=(floor-epoll floor-uring ringwire bun node-ws nginx-proxy nchan fastwebsockets sockudo-ws
    tokio-tungstenite tokio-uring)
CLIENT_CORE=1
ALL_CORES=0,1
RUN_LIMIT_S=300
FAILURES_MAX=2
SECONDS_LEAST_MS=400
ROUNDS_LEAST=3

die() { printf 'bench.sh: %s\n' "$*" >&2; exit 1; }

quick=0 rounds='' budget_min=35 plan_only=0 chosen=()
while (($# > 0)); do
    case $1 in
        --quick) quick=1 ;;
        --rounds) rounds=${2:?--rounds needs a number} && shift ;;
        --plan) plan_only=1 ;;
        --time-budget) budget_min=${2:?--time-budget needs minutes} && shift ;;
        -*) die "unknown option $1; see the head of this file" ;;
        *) chosen+=("$1") ;;
    esac
    shift
done
is_whole=$((${#chosen[@]} == 0 && quick == 0))
[[ -z ${SCENARIOS+set}${FANOUTS+set}${IDLE+set}${ONLY+set}${SECONDS_EACH+set} ]] || is_whole=0
((${#chosen[@]} > 0)) || chosen=("${ALL[@]}")

here=loadtest/contenders
target=${CARGO_TARGET_DIR:-target}
out=${OUT:-target/bench}
port=${PORT:-7400}
warmup_s=0.3 warmup_ms=300
if ((quick)); then
    rounds=${rounds:-3} seconds_s=${SECONDS_EACH:-0.5}
    scenarios=${SCENARIOS-"100,1,32,text 100,16,32,text 10,1,1048576,binary"}
    open_ms=500
    control_sockets=10000 idle=${IDLE-1000} rates="50" fanouts=${FANOUTS-"100,64"}
else
    rounds=${rounds:-5} seconds_s=${SECONDS_EACH:-1}
    scenarios=${SCENARIOS-"1,1,32,text 100,1,32,text 100,16,32,text 1000,1,512,text
        100,1,16384,text 10,1,1048576,binary 10,1,1048576,text 10,1,1048576,utf8 10000,1,64,text"}
    control_sockets=100000 open_ms=2000
    idle=${IDLE-"10000 100000 1000000"} rates="50 80"
    fanouts=${FANOUTS-"1000,64 1000,1024 10000,64 10000,1024"}
fi
only=" ${ONLY:-echo churn fanout busy open shards shared control idle micro} "

mkdir -p "$out/logs"
results=$out/results.jsonl failures=$out/failures.txt facts=$out/facts.tsv commands=$out/commands.tsv
micro=$out/micro.tsv
: > "$results" && : > "$failures" && : > "$facts" && : > "$commands" && : > "$micro"
scratch=$(mktemp -d)

source scripts/contenders.sh
source scripts/bench_clock.sh
# All by index: what is called how, where it listens, the one flag or none of the generator, the
# process group of its server or 0.
names=() addresses=() modes=() pids=() broadcasts=()
declare -A failed=() seen=()

finish() {
    local i
    for i in "${!pids[@]}"; do stop "$i"; done
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

note() {
    ((!planning)) || return 0
    echo "$*"
    echo "$*" >> "$failures"
}

fact() { printf '%s\t%s\n' "$1" "$2" >> "$facts"; }

# measure INDEX SCENARIO COMMAND PATH ARGUMENTS...: one JSON line with the scenario as its title,
# or one line that says what went wrong. In a caller, `held` is how many connections it opens and
# leaves behind, `takes` what the run takes beside that: milliseconds, and thousandths of the
# measured seconds; `sink` where the line goes.
measure() {
    local i=$1 settle_ms=$((100 + ${held:-0} / 10)) scenario=$2 verb=$3 path=$4 name=${names[$1]} scheme=ws line status=0
    shift 4
    # shellcheck disable=SC2086
    [[ -n ${sink:-} ]] || clock_spend "$scenario" $((settle_ms + ${held:-0} / 15 + ${takes% *})) ${takes#* }
    ((!planning)) || return 0
    ((pids[i] > 0 && ${failed[$name/$scenario]:-0} < FAILURES_MAX)) || return 0
    [[ -z ${modes[i]} ]] || scheme=tcp path=''
    # A verb may be two words.
    # shellcheck disable=SC2206
    local arguments=($verb "$scheme://${addresses[i]}$path")
    [[ -z ${modes[i]} ]] || arguments+=("${modes[i]}")
    arguments+=(--server-pid "${pids[i]}" "$@")
    if [[ -z ${seen[$scenario]:-} && -z ${modes[i]} ]]; then
        seen[$scenario]=1
        local shown=${arguments[*]} where=''
        ((shards == 1)) || where=" (server: --shards $shards"
        ((destinations == 1)) || where+=", listening on 127.0.0.1 to 127.0.0.$destinations"
        [[ -z ${policy:-} ]] || where+=", under chrt $policy 0"
        printf '%s\tringwire-loadtest %s\n' "$scenario${where:+$where)}" "${shown/--server-pid ${pids[i]}/--server-pid PID}" \
            >> "$commands"
    fi
    kill -CONT -- "-${pids[i]}"
    line=$(timeout "$RUN_LIMIT_S" taskset -c "${client_cores:-$CLIENT_CORE}" "$load" \
        "${arguments[@]}" --label "$name" --title "$scenario" --json 2> "$scratch/error") || status=$?
    if ((status == 0)) && [[ $line == \{* ]]; then
        echo "$line" >> "${sink:-$results}"
    else
        failed[$name/$scenario]=$((${failed[$name/$scenario]:-0} + 1))
        ((status != 124)) || echo "not done within $RUN_LIMIT_S s" > "$scratch/error"
        note "failed: $name, $scenario: $(tail -n 1 "$scratch/error")"
    fi
    # The goodbyes of this run are not to be a load on the next.
    sleep "$((settle_ms / 1000)).$(printf %03d $((settle_ms % 1000)))"
    if kill -0 "${pids[i]}" 2>/dev/null; then
        kill -STOP -- "-${pids[i]}"
    else
        note "ended: the server of $name, during $scenario; it is started again"
        stop "$i"
        start "$i" || true
    fi
}

# Short runs in which every byte is compared; longer ones on a machine that is too busy for those.
verify() {
    local i=$1 sink=/dev/null shape connections depth bytes kind length_s
    [[ ${names[i]} != nchan ]] || return 0
    for shape in 8,4,300,utf8 8,4,125,text 4,2,70000,binary 1,1,16777216,binary 2,1,1048576,utf8; do
        IFS=, read -r connections depth bytes kind <<< "$shape"
        for length_s in 0.5 8; do
            failed[${names[i]}/verify]=0
            measure "$i" verify echo /echo --verify full --connections "$connections" \
                --depth "$depth" --bytes "$bytes" --kind "$kind" --seconds "$length_s" --warmup 0
            ((failed[${names[i]}/verify] > 0)) || break
        done
        if ((failed[${names[i]}/verify] > 0)); then
            note "left out: ${names[i]} (does not echo correctly)"
            stop "$i"
            break
        fi
    done
}

size() {
    local bytes=$1
    if ((bytes >= 1048576)); then echo "$((bytes / 1048576)) MiB"
    elif ((bytes >= 1024)); then echo "$((bytes / 1024)) KiB"
    else echo "$bytes B"; fi
}

echo_round() {
    local scenario connections depth bytes kind i takes="$((100 + warmup_ms)) 1000"
    for scenario in $scenarios; do
        IFS=, read -r connections depth bytes kind <<< "$scenario"
        local held=$connections
        for i in "${!names[@]}"; do
            [[ ${names[i]} != nchan ]] || continue
            measure "$i" "echo: $connections x $depth, $(size "$bytes") $kind" echo /echo \
                --connections "$connections" --depth "$depth" --bytes "$bytes" --kind "$kind" \
                --seconds "$seconds_s" --warmup "$warmup_s"
        done
    done
}

# Rates from the closed loop before: a share of the contender's own peak, and one for all, which
# is half of the slowest one's peak. What the system does besides stalls a core for milliseconds now
# and then, about a hundredth of the time; in a short run that decides p99, so these are longer.
open_rounds() {
    local i round share rate name peak held=100 takes="$((100 + warmup_ms + open_ms)) 0"
    peaks_of "100 x 1, 32 B text" > "$scratch/peaks"
    rate=$(awk '{ if (!least || $2 < least) least = $2 } END { printf "%d", least / 2 }' \
        "$scratch/peaks")
    for ((round = 1; round <= rounds; round++)); do
        for share in $rates same; do
            for i in "${!names[@]}"; do
                name=${names[i]}
                # The floors only say what this machine does to everybody at that rate.
                [[ $name != floor-* || $share = same ]] || continue
                peak=$(awk -v name="$name" '$1 == name { printf "%d", $2 }' "$scratch/peaks")
                [[ -n $peak ]] || ((planning)) || continue
                if [[ $share = same ]]; then
                    open_one "$i" "open: $rate/s for each" "$rate"
                else
                    open_one "$i" "open: $share % of its own peak" "$((${peak:-0} * share / 100))"
                fi
            done
        done
    done
}

open_one() {
    measure "$1" "$2" echo /echo --rate "$3" --connections 100 --bytes 32 --kind text \
        --seconds "$((open_ms / 1000)).$((open_ms % 1000 / 100))" --warmup "$warmup_s"
}

# Contender and median of messages/s, a line each.
peaks_of() {
    python3 - "$results" "echo: $1" <<'PY'
import collections, json, statistics, sys
rates = collections.defaultdict(list)
for line in open(sys.argv[1]):
    run = json.loads(line)
    if run['title'] == sys.argv[2]:
        rates[run['label']].append(run['messages_per_second'])
for name, values in rates.items():
    print(name, int(statistics.median(values)))
PY
}

churn_round() {
    local i held=500 takes="$((100 + warmup_ms)) 1000"
    for i in "${!names[@]}"; do
        [[ ${names[i]} != nchan ]] || continue
        measure "$i" "churn: connect, echo, close" churn /echo --seconds "$seconds_s" --warmup "$warmup_s"
    done
}

# An older ringwire has /chat only. Whoever joins or leaves there is announced to all, and lines are
# short, so it takes part only where that is feasible.
fanout_round() {
    local scenario subscribers bytes i path join title echo length_s takes
    for scenario in $fanouts; do
        IFS=, read -r subscribers bytes <<< "$scenario"
        title="fanout: to $subscribers, $(size "$bytes")"
        # A round to ten thousand takes a good part of a second.
        length_s=$seconds_s takes="$((500 + warmup_ms)) 2000"
        ((subscribers < 10000)) || length_s=2 takes="$((3700 + warmup_ms)) 0"
        for i in "${!names[@]}"; do
            local held=$subscribers
            path=/broadcast join=none
            echo=(--echo-url "ws://${addresses[i]}/echo")
            case ${chosen[i]} in
                floor-* | tokio-uring) continue ;;
                nchan) echo=() ;;
                ringwire | *=*)
                    if ! has_broadcast "$i"; then
                        path=/chat join=chat held=$((subscribers * 20))
                        if ((subscribers > 1000 || bytes > 900)); then
                            ((round > 1)) || note "left out: ${names[i]}, $title (it has no" \
                                "/broadcast, and /chat is not made for this)"
                            continue
                        fi
                    fi ;;
            esac
            measure "$i" "$title" fanout "$path" --join "$join" --subscribers "$subscribers" \
                --bytes "$bytes" --seconds "$length_s" --warmup "$warmup_s" "${echo[@]}"
        done
    done
}

# Four quiet clients at a low fixed rate, alone for a while and then beside four that always have
# something to say. A floor knows no frames, so nobody floods it with them.
busy_round() {
    local kind i held=8 takes="$((900 + 2 * warmup_ms)) 2000"
    for kind in large-echoes pong-floods tiny-messages; do
        for i in "${!names[@]}"; do
            [[ ${names[i]} != nchan && -z ${modes[i]} ]] || continue
            measure "$i" "busy: beside 4 x $kind" abuse /echo --kinds "$kind" --busy 4 \
                --echo-connections 4 --echo-rate 400 --seconds "$seconds_s"
        done
    done
}

# Whether the server of index $1 has the route; asked once.
has_broadcast() {
    local i=$1 reply
    ((pids[i] > 0)) || return 1
    if [[ -z ${broadcasts[$i]:-} ]]; then
        broadcasts[i]=no
        kill -CONT -- "-${pids[i]}"
        exec 3<> "/dev/tcp/${addresses[i]%:*}/${addresses[i]#*:}"
        printf 'GET /broadcast HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s' \
            "${addresses[i]}" $'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n' >&3
        read -r -t 5 reply <&3 || reply=''
        exec 3>&-
        kill -STOP -- "-${pids[i]}"
        [[ $reply != "HTTP/1.1 101"* ]] || broadcasts[i]=yes
    fi
    [[ ${broadcasts[$i]} = yes ]]
}

# A server that has held connections before has their memory still, so all are new ones.
idle_rounds() {
    local count=$1 round i limit repeat=$((rounds < 3 ? rounds : 3)) left_out=()
    local client_cores policy SERVER_CORE=$SERVER_CORE openers=4
    local hold=(--hold 0.2) takes="$((1400 + count / 15)) 0"
    # Long enough for a round of pings, and some who talk among the many who do not.
    ((count < 100000)) || hold=(--hold 30 --active 1000 --active-rate 10000)
    ((count < 100000)) || takes="$((36000 + count / 15)) 0"
    limit=$(ulimit -n)
    if ((count > 500000 && $(awk '/MemAvailable/ { print $2 }' /proc/meminfo) < 14680064)); then
        note "left out: idle: $count connections (less than 14 GiB of memory available)"
        return
    fi
    ((count < 100000)) || repeat=1
    # A ring holds at most as many connections as a process may open files, less a reserve; several
    # hold more. The kernel throws dice for the ring of each connection, and one that is full refuses
    # it though others have room, so all have room to spare. Each address has its own dice. Many threads
    # on one core would wait for each other, and the last of them for long: all may have both. A
    # server whose threads wait for their turn (SCHED_BATCH, sched(7)) finds many connections when it
    # comes; otherwise each of these would push the generator off its core, and be the only one.
    if ((count + 1100 > limit)); then
        shards=$((count * 5 / (limit * 4) + 2)) destinations=$shards
        SERVER_CORE=$ALL_CORES client_cores=$ALL_CORES policy=--batch openers=16
    fi
    for ((round = 1; round <= repeat; round++)); do
        for i in "${!chosen[@]}"; do
            case ${chosen[i]} in
                nchan) continue ;;
                ringwire | *=*) ;;
                *) if ((count + 100 > limit)); then
                    left_out+=("${chosen[i]}")
                    continue
                fi ;;
            esac
            [[ -n ${usable[${chosen[i]%%=*}]:-} ]] || continue
            ((planning)) || start "$i" || continue
            measure "$i" "idle: $count" idle /echo --connections "$count" \
                --destinations "$destinations" --openers "$openers" "${hold[@]}"
            ((planning)) || stop "$i"
        done
    done
    ((${#left_out[@]} == 0)) || note "left out, since a process may open $limit files here: idle:" \
        "$count connections to ${left_out[*]}"
    shards=1 destinations=1
}

# Whether two shards do nearly twice as much as one. Two cores cannot carry two shards and a
# generator that keeps both busy, so what counts is the CPU time per message: both cores divided by
# it, beside one core divided by that of one shard. The generator has two threads in both cases: a
# single one, which is on one core at a time, would have each shard idle half of the time and pay
# for short batches.
shard_rounds() {
    local i round count takes="$((1500 + warmup_ms)) 1000" client_cores SERVER_CORE=$SERVER_CORE
    for ((round = 1; round <= rounds; round++)); do
        for i in "${!chosen[@]}"; do
            case ${chosen[i]} in ringwire | *=*) ;; *) continue ;; esac
            [[ -n ${usable[${chosen[i]%%=*}]:-} ]] || continue
            for count in 1 2; do
                shards=$count SERVER_CORE=0 client_cores=$CLIENT_CORE
                ((count == 1)) || SERVER_CORE=$ALL_CORES client_cores=$ALL_CORES
                ((planning)) || start "$i" || continue
                shard_one "$i" 100,16,32 100,1,16384
                ((planning)) || stop "$i"
            done
        done
    done
    shards=1
}

shard_one() {
    local i=$1 scenario connections depth bytes held=100
    shift
    for scenario; do
        IFS=, read -r connections depth bytes <<< "$scenario"
        ((count == 1)) || names[i]="${chosen[i]%%=*} ($count shards)"
        measure "$i" "shards: $connections x $depth, $(size "$bytes") text" echo /echo \
            --connections "$connections" --threads 2 --depth "$depth" --bytes "$bytes" --kind text \
            --seconds "$seconds_s" --warmup "$warmup_s"
        names[i]=${chosen[i]%%=*}
    done
}

# What an echo costs through a shared socket in the hands of a worker on another thread, beside one
# by a handler of the same program. Shard and worker together have the core that a shard has
# otherwise. How much one worker echoes at most is asked with both cores for all.
shared_rounds() {
    local i round takes="$((1500 + warmup_ms)) 1000" client_cores SERVER_CORE=$SERVER_CORE example=$shared_echo
    for ((round = 1; round <= rounds; round++)); do
        for i in "${!chosen[@]}"; do
            [[ ${chosen[i]} = ringwire && -n ${usable[ringwire]:-} ]] || continue
            SERVER_CORE=0 client_cores=$CLIENT_CORE
            ((planning)) || start "$i" || continue
            shared_one "$i" / "ringwire (shared)" 100 1
            shared_one "$i" /dedicated ringwire 100 1
            shared_one "$i" / "ringwire (shared)" 100 16
            shared_one "$i" /dedicated ringwire 100 16
            ((planning)) || stop "$i"
            SERVER_CORE=$ALL_CORES client_cores=$ALL_CORES
            ((planning)) || start "$i" || continue
            shared_one "$i" / "ringwire (shared, both cores)" 100 16
            ((planning)) || stop "$i"
        done
    done
}

# shared_one INDEX PATH NAME CONNECTIONS DEPTH
shared_one() {
    local i=$1 held=$4
    names[i]=$3
    measure "$i" "shared: $4 x $5, 32 B text" echo "$2" --connections "$4" --depth "$5" --bytes 32 \
        --kind text --seconds "$seconds_s" --warmup "$warmup_s"
    names[i]=ringwire
}

# Shared sockets over the control plane: both cores for the server, its control clients and the
# WebSocket clients together.
control_rounds() {
    local i round repeat=$((rounds < 3 ? rounds : 3)) client_cores=$ALL_CORES SERVER_CORE=$ALL_CORES
    local socket=$out/control.sock SERVE_ARGS
    printf '[[route]]\npath = "/feed"\nmode = "shared"\n' > "$out/control.toml"
    SERVE_ARGS="--log warn --config $out/control.toml --control $socket"
    for ((round = 1; round <= repeat; round++)); do
        for i in "${!chosen[@]}"; do
            case ${chosen[i]} in ringwire | *=*) ;; *) continue ;; esac
            [[ -n ${usable[${chosen[i]%%=*}]:-} ]] || continue
            shards=0
            control_one "$i" "pairs, 64 connections" pairs 128 --workers 64 --sockets 64
            # A ring holds as many as a process may open; several rings hold more.
            shards=$(((control_sockets + 2000) / ($(ulimit -n) - 1000) + 1))
            control_one "$i" "writes to $control_sockets sockets" writes "$control_sockets" \
                --sockets "$control_sockets" --streams 256
        done
    done
    shards=1
}

# control_one INDEX WHAT VERB SOCKETS ARGUMENTS...: with a server just started, which ends after it,
# so that there are fewer goodbyes to wait for. Always 2 s: fewer would not reach every socket.
control_one() {
    local i=$1 what=$2 verb=$3 held=$(($4 / 10)) takes="$((3000 + $4 / 10 + warmup_ms)) 0"
    shift 4
    ((planning)) || start "$i" || return 0
    measure "$i" "control: $what" "control $verb" /feed --control "$socket" "$@" \
        --seconds 2 --warmup "$warmup_s"
    ((planning)) || stop "$i"
}

# What the engine itself adds: sessions on a ring in memory, without the kernel. In rounds, because
# a machine that is shared can run at half its speed for seconds.
micro_run() {
    local round name messages part
    clock_spend "micro: sessions in memory" $((rounds * 6000)) 0
    ((!planning)) || return 0
    printf 'micro\tcargo bench --bench micro -- echo/text\n' >> "$commands"
    for ((round = 0; round < rounds; round++)); do
        taskset -c "$CLIENT_CORE" cargo bench --quiet --bench micro -- --warm-up-time 0.3 --measurement-time 0.8 \
            '^echo/text-(125x1|32x16)/' > "$out/logs/micro.log" 2>&1 ||
            { note "failed: cargo bench --bench micro (see $out/logs/micro.log)"; return 0; }
        for part in text-125x1:1 text-32x16:16; do
            name=${part%:*} messages=${part#*:}
            python3 - "$target/criterion/echo_$name" "$messages" "$name" >> "$micro" <<'PY' ||
import json, sys
folder, messages, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def median(part):
    with open(f'{folder}/{part}/new/estimates.json') as file:
        return json.load(file)['median']['point_estimate']
print(name, round((median('engine') - median('ring alone')) / messages, 1), sep='\t')
PY
                note "failed: no figures of $name in $target/criterion"
        done
    done
}

state_facts() {
    local i
    fact machine "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, \
$(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo) of memory"
    fact kernel "$(uname -sr)"
    fact "congestion control" "$(cat /proc/sys/net/ipv4/tcp_congestion_control)"
    fact "open files of a process" "$(ulimit -n) at most"
    fact commit "$(git describe --always --dirty 2>/dev/null || echo unknown)"
    fact date "$(date -u +%Y-%m-%d)"
    fact load "$(cut -d ' ' -f 1-3 /proc/loadavg) before the first run"
    fact runs "$rounds rounds of $seconds_s s each (${open_ms} ms at fixed rates), $warmup_s s of warm-up, servers on core \
$SERVER_CORE, generator on core $CLIENT_CORE; all on both in \`control\` and, servers under SCHED_BATCH, with more idle connections than a shard takes"
    for i in "${!names[@]}"; do
        [[ -n ${usable[${names[i]}]:-} ]] || continue
        fact "version ${names[i]}" "$(version_of "${chosen[i]}" 2>/dev/null | head -n 1)"
        [[ ${chosen[i]} != ringwire && ${chosen[i]} != *=* ]] || fact ours "${names[i]}"
    done
    sed 's/\t/: /' "$facts"
}

# Every round of everything, or a walk through them for the plan.
run_all() {
    local round i count
    for ((round = 1; round <= rounds; round++)); do
        if ((!planning)); then
            if ((round > ROUNDS_LEAST)) && clock_is_late; then
                note "$((round - 1)) rounds instead of $rounds, since the time is limited to $budget_min min"
                rounds=$((round - 1))
                break
            fi
            clock_title=''
            echo "round $round of $rounds"
        fi
        [[ $only != *" echo "* ]] || echo_round
        [[ $only != *" churn "* ]] || churn_round
        [[ $only != *" fanout "* ]] || fanout_round
        [[ $only != *" busy "* ]] || busy_round
    done
    [[ $only != *" open "* ]] || open_rounds
    ((planning)) || for i in "${!pids[@]}"; do stop "$i"; done
    [[ $only != *" shards "* ]] || shard_rounds
    [[ $only != *" shared "* ]] || shared_rounds
    [[ $only != *" control "* ]] || control_rounds
    if [[ $only == *" idle "* ]]; then
        for count in $idle; do idle_rounds "$count"; done
    fi
    [[ $only != *" micro "* ]] || micro_run
}

# Finds out what it will take, and makes it fit.
plan() {
    local wanted=$rounds
    budget_ms=$((budget_min * 60000))
    seconds_ms=$(ms_of "$seconds_s")
    walk
    if ((budget_ms > 0)); then
        clock_fit "$budget_ms" "$SECONDS_LEAST_MS"
        while ((planned_ms > budget_ms && rounds > ROUNDS_LEAST)); do
            rounds=$((rounds - 1))
            walk
        done
        ((rounds == wanted)) || note "$rounds rounds instead of $wanted, since the time is limited to $budget_min min"
    fi
    seconds_s=$(awk -v ms="$seconds_ms" 'BEGIN { printf "%g", ms / 1000 }')
}

walk() {
    planned_ms=0 stretches=0 planning=1
    run_all
    planning=0
}

[[ $(nproc) -ge 2 ]] || die "two cores are needed, one for the servers and one for the generator"
shards=1 destinations=1 example=''
install_debian
install_npm
build
declare -A usable=()
for i in "${!chosen[@]}"; do
    start "$i" || continue
    verify "$i"
    ((pids[i] == 0)) || usable[${names[i]}]=1
done
((${#usable[@]} > 0)) || die "there is nothing to measure"
plan
state_facts
echo "$(minutes "$planned_ms") to go"
((!plan_only)) || exit 0
clock_start
run_all

# The micro-benchmarks alone have no runs.
[[ -s $results || ($only == " micro " && -s $micro) ]] || die "no run succeeded"
report=$out/BENCHMARKS.md page=$out/benchmarks.html
((!is_whole)) || report=BENCHMARKS.md page=docs/benchmarks.html
python3 scripts/bench_report.py "$out" "$page" > "$scratch/report"
# What soak.sh measured is written by hand, at the end.
((!is_whole)) || sed -n '/^## Soak$/,$p' BENCHMARKS.md >> "$scratch/report"
said="the report is $report"
if [[ -s $results ]]; then
    # A look for the terminal. It has nothing to say of some scenarios alone; that is no failure.
    "$load" compare "$results" || true
    "$load" report "$results" --facts "$facts" > "$scratch/page"
    cp "$scratch/page" "$page"
    said+=", as pictures $page; the runs are $results"
fi
cp "$scratch/report" "$report"
echo "$((($(clock_ms) - clock_start_ms) / 60000)) min; $said"
