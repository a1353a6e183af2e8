#!/usr/bin/env bash
# bench.sh [--quick] [--rounds N] [CONTENDER...]
#
# Measures ringwire beside the raw TCP floors and other WebSocket servers on this machine: every
# server with all its threads on core 0, the generator on core 1, rounds interleaved (A B C, A B C,
# ...) so that a noisy minute weighs on all alike. While one is measured the others are stopped.
# Installs what is missing, checks that every contender echoes correctly, runs, prints tables and
# writes BENCHMARKS.md; with --quick or any choice of what to run that goes to OUT instead.
#
# CONTENDER  floor-epoll floor-uring ringwire bun node-ws nginx-proxy nchan fastwebsockets
#            sockudo-ws tokio-tungstenite tokio-uring (default: all), or NAME=PATH: another
#            ringwire program, such as before=/tmp/ringwire after=target/release/ringwire
# --quick    3 rounds of 0.5 s and few scenarios, for trying
#
# RINGWIRE=path      the program of `ringwire`  (default: target/release/ringwire, built here)
# RINGWIRE_ARGS=...  further arguments of `serve` (default: --log warn)
# LOADTEST=path      the generator               (default: built here)
# SECONDS_EACH=1     measured seconds of a run
# SCENARIOS="..."    of echo: connections,depth,bytes,kind; separated by spaces
# IDLE="10000 ..."   idle connections, each with servers just started; empty for none
# ONLY="echo ..."    of echo open churn fanout idle
# OUT=target/bench   where results.jsonl, the servers' logs and the report go
# PORT=7400          first of two ports for each contender
# Exit status: 0 even if a contender was left out, which the output says; 1 without any result.
set -euo pipefail
cd "$(dirname "$0")/.."

ALL=(floor-epoll floor-uring ringwire bun node-ws nginx-proxy nchan fastwebsockets sockudo-ws
    tokio-tungstenite tokio-uring)
CLIENT_CORE=1
RUN_LIMIT_S=180
FAILURES_MAX=2

die() { printf 'bench.sh: %s\n' "$*" >&2; exit 1; }

quick=0 rounds='' chosen=()
while (($# > 0)); do
    case $1 in
        --quick) quick=1 ;;
        --rounds) rounds=${2:?--rounds needs a number} && shift ;;
        -*) die "unknown option $1; see the head of this file" ;;
        *) chosen+=("$1") ;;
    esac
    shift
done
is_whole=$((${#chosen[@]} == 0 && quick == 0))
[[ -z ${SCENARIOS+set}${IDLE+set}${ONLY+set}${SECONDS_EACH+set} ]] || is_whole=0
((${#chosen[@]} > 0)) || chosen=("${ALL[@]}")

here=loadtest/contenders
target=${CARGO_TARGET_DIR:-target}
out=${OUT:-target/bench}
port=${PORT:-7400}
warmup_s=0.3
if ((quick)); then
    rounds=${rounds:-3} seconds_s=${SECONDS_EACH:-0.5}
    scenarios=${SCENARIOS-"100,1,32,text 100,16,32,text 10,1,1048576,binary"}
    idle=${IDLE-1000} rates="50" fanouts="100,64"
else
    rounds=${rounds:-5} seconds_s=${SECONDS_EACH:-1}
    scenarios=${SCENARIOS-"1,1,32,text 100,1,32,text 100,16,32,text 1000,1,512,text
        100,1,16384,text 10,1,1048576,binary 10,1,1048576,text 10,1,1048576,utf8 10000,1,64,text"}
    idle=${IDLE-"10000 100000 1000000"} rates="50 80" fanouts="1000,64 1000,1024 10000,64 10000,1024"
fi
only=" ${ONLY:-echo open churn fanout idle} "

mkdir -p "$out/logs"
results=$out/results.jsonl failures=$out/failures.txt facts=$out/facts.tsv commands=$out/commands.tsv
: > "$results" && : > "$failures" && : > "$facts" && : > "$commands"
scratch=$(mktemp -d)

source scripts/contenders.sh
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
    echo "$*"
    echo "$*" >> "$failures"
}

fact() { printf '%s\t%s\n' "$1" "$2" >> "$facts"; }

# measure INDEX SCENARIO COMMAND PATH ARGUMENTS...: one JSON line with the scenario in it, or one
# line that says what went wrong. `held` in a caller is how many connections it leaves behind,
# `sink` where the line goes.
measure() {
    local i=$1 settle_ms=$((100 + ${held:-0} / 10)) scenario=$2 verb=$3 path=$4 name=${names[$1]} scheme=ws line status=0
    shift 4
    ((pids[i] > 0 && ${failed[$name/$scenario]:-0} < FAILURES_MAX)) || return 0
    [[ -z ${modes[i]} ]] || scheme=tcp path=''
    local arguments=("$verb" "$scheme://${addresses[i]}$path")
    [[ -z ${modes[i]} ]] || arguments+=("${modes[i]}")
    arguments+=(--server-pid "${pids[i]}" "$@")
    if [[ -z ${seen[$scenario]:-} && -z ${modes[i]} ]]; then
        seen[$scenario]=1
        printf '%s\t%s\n' "$scenario" "${arguments[*]}" >> "$commands"
    fi
    kill -CONT -- "-${pids[i]}"
    line=$(timeout "$RUN_LIMIT_S" taskset -c "$CLIENT_CORE" "$load" "${arguments[@]}" \
        --label "$name" --json 2> "$scratch/error") || status=$?
    if ((status == 0)) && [[ $line == \{* ]]; then
        echo "{\"bench_scenario\":\"$scenario\",${line#\{}" >> "${sink:-$results}"
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

has() { "$load" --help 2>/dev/null | grep -qE "^  $1( |$)"; }

echo_round() {
    local scenario connections depth bytes kind i
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
# is half of the slowest one's peak.
open_rounds() {
    local i round share rate name peak
    peaks_of "100 x 1, 32 B text" > "$scratch/peaks"
    rate=$(awk '{ if (!least || $2 < least) least = $2 } END { printf "%d", least / 2 }' \
        "$scratch/peaks")
    for ((round = 1; round <= rounds; round++)); do
        for share in $rates same; do
            for i in "${!names[@]}"; do
                name=${names[i]}
                [[ $name != floor-* ]] || continue
                peak=$(awk -v name="$name" '$1 == name { printf "%d", $2 }' "$scratch/peaks")
                [[ -n $peak ]] || continue
                if [[ $share = same ]]; then
                    open_one "$i" "open: $rate/s for each" "$rate"
                else
                    open_one "$i" "open: $share % of its own peak" "$((peak * share / 100))"
                fi
            done
        done
    done
}

open_one() {
    measure "$1" "$2" echo /echo --rate "$3" --connections 100 --bytes 32 --kind text \
        --seconds "$seconds_s" --warmup "$warmup_s"
}

# Contender and median of messages/s, a line each.
peaks_of() {
    python3 - "$results" "echo: $1" <<'PY'
import collections, json, statistics, sys
rates = collections.defaultdict(list)
for line in open(sys.argv[1]):
    run = json.loads(line)
    if run['bench_scenario'] == sys.argv[2]:
        rates[run['label']].append(run['messages_per_second'])
for name, values in rates.items():
    print(name, int(statistics.median(values)))
PY
}

churn_round() {
    local i
    for i in "${!names[@]}"; do
        [[ ${names[i]} != nchan ]] || continue
        measure "$i" "churn: connect, echo, close" churn /echo --seconds "$seconds_s" --warmup "$warmup_s"
    done
}

# ringwire has /chat until it has /broadcast. Whoever joins or leaves there is announced to all, and
# lines are short, so it takes part only where that is feasible.
fanout_round() {
    local scenario subscribers bytes i path join title echo length_s
    for scenario in $fanouts; do
        IFS=, read -r subscribers bytes <<< "$scenario"
        title="fanout: to $subscribers, $(size "$bytes")"
        # A round to ten thousand takes a good part of a second.
        length_s=$seconds_s
        ((subscribers < 10000)) || length_s=2
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
    local hold=(--hold 0.2)
    # Some who talk among the many who do not.
    ((count < 100000)) || ! "$load" idle --help | grep -q -e --active-rate ||
        hold=(--hold 3 --active 1000 --active-rate 10000)
    limit=$(ulimit -n)
    if ((count > 500000 && $(awk '/MemAvailable/ { print $2 }' /proc/meminfo) < 14680064)); then
        note "left out: idle: $count connections (less than 14 GiB of memory available)"
        return
    fi
    ((count < 100000)) || repeat=1
    shards=$(((count + 2000) / (limit - 1000) + 1))
    for ((round = 1; round <= repeat; round++)); do
        for i in "${!chosen[@]}"; do
            case ${chosen[i]} in
                nchan) continue ;;
                # A ring holds as many as a process may open; several rings hold more.
                ringwire | *=*) ;;
                *) if ((count + 100 > limit)); then
                    left_out+=("${chosen[i]}")
                    continue
                fi ;;
            esac
            [[ -n ${usable[${chosen[i]%%=*}]:-} ]] || continue
            start "$i" || continue
            measure "$i" "idle: $count" idle /echo --connections "$count" "${hold[@]}"
            stop "$i"
        done
    done
    ((${#left_out[@]} == 0)) || note "left out, since a process may open $limit files here: idle:" \
        "$count connections to ${left_out[*]}"
    shards=1
}

state_facts() {
    local i
    fact machine "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, \
$(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo) of memory"
    fact kernel "$(uname -sr)"
    fact "congestion control" "$(cat /proc/sys/net/ipv4/tcp_congestion_control)"
    fact commit "$(git describe --always --dirty 2>/dev/null || echo unknown)"
    fact date "$(date -u +%Y-%m-%d)"
    fact load "$(cut -d ' ' -f 1-3 /proc/loadavg) before the first run"
    fact runs "$rounds rounds of $seconds_s s each, $warmup_s s of warm-up, servers on core \
$SERVER_CORE, generator on core $CLIENT_CORE"
    for i in "${!names[@]}"; do
        [[ -n ${usable[${names[i]}]:-} ]] || continue
        fact "version ${names[i]}" "$(version_of "${chosen[i]}" 2>/dev/null | head -n 1)"
        [[ ${chosen[i]} != ringwire && ${chosen[i]} != *=* ]] || fact ours "${names[i]}"
    done
    sed 's/\t/: /' "$facts"
}

tables() {
    local kind scenario
    for kind in text binary utf8; do
        grep -E "\"bench_scenario\":\"echo:[^\"]*$kind\"" "$results" > "$scratch/part" || continue
        printf '\n%s messages\n' "$kind"
        "$load" compare "$scratch/part"
    done
    grep -o '"bench_scenario":"[^"]*"' "$results" | grep -v ':"echo:' | awk '!seen[$0]++' \
        > "$scratch/others" || return 0
    while IFS= read -r scenario; do
        grep -F "$scenario" "$results" > "$scratch/part"
        scenario=${scenario#*:\"}
        printf '\n%s\n' "${scenario%\"}"
        "$load" compare "$scratch/part" || true
    done < "$scratch/others"
}

[[ $(nproc) -ge 2 ]] || die "two cores are needed, one for the servers and one for the generator"
shards=1
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
state_facts

for ((round = 1; round <= rounds; round++)); do
    echo "round $round of $rounds, $((SECONDS / 60)) min so far"
    [[ $only != *" echo "* ]] || echo_round
    [[ $only != *" churn "* ]] || ! has churn || churn_round
    [[ $only != *" fanout "* ]] || ! has fanout || fanout_round
done
if [[ $only == *" open "* ]] && "$load" echo --help | grep -q -e --rate; then
    open_rounds
fi
for i in "${!pids[@]}"; do stop "$i"; done
if [[ $only == *" idle "* ]]; then
    for count in $idle; do idle_rounds "$count"; done
fi

[[ -s $results ]] || die "no run succeeded"
tables
report=$out/BENCHMARKS.md
((!is_whole)) || report=BENCHMARKS.md
python3 scripts/bench_report.py "$out" > "$scratch/report"
cp "$scratch/report" "$report"
if has report; then
    "$load" report "$results" > "$out/report.html"
    echo "the runs as pictures: $out/report.html"
fi
echo "$((SECONDS / 60)) min; the report is $report, the runs are $results"
