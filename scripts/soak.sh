#!/usr/bin/env bash
# soak.sh [--seconds N] [--no-p99] [SERVER-OPTION...]
#
# All kinds of `ringwire-loadtest abuse` at once, for N seconds (default: 600), beside 1,000 honest
# clients of a server of its own: 900 that echo 32 B, 4 that echo 1 MiB, 64 that chat, and 32 on a
# shared route, whom 8 workers answer over the control plane. The honest check every byte that comes.
# A table on the way; in the end which bars were met:
#   p99 of the 32 B echoes <= 50 ms, from the time each was to be sent (told only, with --no-p99)
#   nothing lost: every message came back or was delivered, no honest client was cut off
#   RSS of the same process 30 s after the end <= 32 MiB above what it was before
#   no panic, no connection shed for want of memory
#
# SERVER_BIN, LOADTEST   the programs (default: those in target/release)
# OUT                    the reports and logs (default: target/soak)
# Exit status: 0 if all bars were met; 1 if not; 2 if it could not be run.
set -euo pipefail
cd "$(dirname "$0")/.."

BACK_S=30
die() { printf 'soak.sh: %s\n' "$*" >&2; exit 2; }

out=${OUT:-target/soak} loadtest=${LOADTEST:-target/release/ringwire-loadtest}
if [ -z "${SOAK_INSIDE:-}" ]; then
  seconds=600 judges_p99=1 options=()
  while [ $# -gt 0 ]; do
    case $1 in
      --seconds) seconds=${2:?--seconds needs a number} && shift ;;
      --no-p99) judges_p99=0 ;;
      *) options+=("$1") ;;
    esac
    shift
  done
  [[ $seconds =~ ^[1-9][0-9]*$ ]] || die "--seconds $seconds is no number above 0"
  [ -x "$loadtest" ] || die "no program at $loadtest: run 'cargo build --release --workspace' first"
  mkdir -p "$out"
  rm -f "$out"/*.json "$out"/*.err "$out/failures"
  printf '[[route]]\npath = "/feed"\n' >"$out/server.toml"
  socket=$(mktemp -u "${TMPDIR:-/tmp}/soak.XXXXXXXX") # `sockaddr_un` takes short paths only.
  export SOAK_INSIDE=1 SERVER_LOG=$out/server.log
  exec scripts/with-server.sh "${options[@]}" --config "$out/server.toml" --control "$socket" -- \
    "$0" "$seconds" "$judges_p99" "$socket"
fi
seconds=$1 judges_p99=$2 socket=$3

rss_kib() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$RINGWIRE_PID/status" 2>/dev/null || true; }
cpu_ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$RINGWIRE_PID/stat" 2>/dev/null || true; }
metric() {
  curl --silent --show-error --fail --max-time 10 --header "Authorization: Bearer $RINGWIRE_CONTROL_TOKEN" \
    "${RINGWIRE_CONTROL_URL}metrics" | awk -v name="ringwire_$1" 'index($1, name) == 1 { sum += $2; found = 1 } END { if (found) print sum }'
}

declare -A pids=()
trap 'exit 143' TERM
trap 'for p in $(jobs -rp); do kill -TERM "$p" 2>/dev/null || true; done' EXIT
# start NAME SECONDS ARGUMENT...: a generator, its report in NAME.json.
start() {
  local name=$1 runs_s=$2
  shift 2
  nice -n "$nice" "$loadtest" "$@" --seconds "$runs_s" --json >"$out/$name.json" 2>"$out/$name.err" &
  pids[$name]=$!
}

before_kib=$(rss_kib) peak_kib=0
# The bad ones are there before the honest, and still when these have left. They get what CPU the
# others leave: on other machines they would not take it from the clients that are measured.
nice=10 start abuse $((seconds + 6)) abuse "$RINGWIRE_WS/echo" --at-once --echo-connections 1 --echo-rate 10
sleep 2
nice=0
start small "$seconds" echo "$RINGWIRE_WS/echo" --connections 900 --rate 1800 --bytes 32 --verify full
start large "$seconds" echo "$RINGWIRE_WS/echo" --connections 4 --rate 8 --bytes 1048576 --kind binary --verify full
start chat "$seconds" fanout "$RINGWIRE_WS/chat" --join chat --subscribers 60 --publishers 4 --rate 5
start workers "$seconds" control pairs "$RINGWIRE_WS/feed" --control "$socket" --workers 8 --sockets 32

printf '%8s %9s %12s %11s\n' 'after, s' 'RSS, MiB' 'server, %CPU' generators
started_s=$SECONDS shown_s=$SECONDS ticks=$(cpu_ticks)
while now_kib=$(rss_kib) && [ -n "$now_kib" ] && [ -n "$(jobs -rp)" ] && ((SECONDS - started_s < seconds + 120)); do
  ((now_kib <= peak_kib)) || peak_kib=$now_kib
  if ((SECONDS - shown_s >= 10)); then
    now_ticks=$(cpu_ticks)
    printf '%8d %9d %12d %11d\n' $((SECONDS - started_s)) $((now_kib / 1024)) \
      $(((now_ticks - ticks) * 100 / $(getconf CLK_TCK) / (SECONDS - shown_s))) "$(jobs -rp | wc -l)"
    shown_s=$SECONDS ticks=$now_ticks
  fi
  sleep 0.5
done
# Whoever has not ended by now does not end: that is a failure, of `wait`.
for p in $(jobs -rp); do kill -TERM "$p"; done
for name in "${!pids[@]}"; do
  wait "${pids[$name]}" || echo "$name: $(tail -n 1 "$out/$name.err")" >>"$out/failures"
done
sleep "$BACK_S"
panics=$(metric panics_total || true) shed=$(metric shed_total || true)

python3 scripts/soak_report.py "$out" "$judges_p99" "$before_kib" "$peak_kib" "$(rss_kib)" "${panics:-unknown}" "${shed:-unknown}"
