#!/usr/bin/env bash
# scripts/icount.sh [--update | --profile SCENARIO]
#
# Instructions per message of the echo sessions in benches/icount.rs, counted by
# callgrind, against benches/icount.expected: fails when one grows by more than
# 3 %, and when one shrinks by so much that the file no longer tells the truth.
# --update writes the file anew; --profile shows where the instructions of one
# scenario go.
#
# A count is the difference of two runs of different length, divided by the
# difference of their messages, less the same of the ring without the engine.
# It repeats exactly, and hardly depends on the machine: the code is compiled for
# the baseline of x86-64, and valgrind shows every program the same CPU, one with
# AVX2 and without AVX-512, if the real one has AVX2. It does depend on the
# compiler, whose version is in the file.
set -euo pipefail
cd "$(dirname "$0")/.."

expected=benches/icount.expected
tolerance_percent=3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() { echo "icount: $*" >&2; exit 2; }

mode=${1:-check} scenario=${2:-}
case $mode in
  check | --update) [ $# -le 1 ] || fail "$mode takes no argument" ;;
  --profile) [ -n "$scenario" ] || fail "--profile needs the name of a scenario" ;;
  *) fail "unknown argument $mode; see the head of this script" ;;
esac
command -v valgrind >/dev/null || fail "valgrind is missing: install the Debian package of this name"
[ "$(uname -m)" = x86_64 ] && grep -qw avx2 /proc/cpuinfo || fail "the counts are those of an x86-64 CPU with AVX2, which this is not"

unset CARGO_ENCODED_RUSTFLAGS CFLAGS
export RUSTFLAGS=''
program=$(cargo bench --bench icount --no-run --message-format=json-render-diagnostics |
  sed -n 's/.*"name":"icount".*"executable":"\([^"]*\)".*/\1/p')
[ -x "$program" ] || fail "the program was not built"

# The environment is empty, for its size moves the stack; the allocator is not to look at the clock.
callgrind() {
  env -i MIMALLOC_PURGE_DELAY=-1 valgrind --tool=callgrind --callgrind-out-file="$folder/out" \
    --log-file="$folder/log" "$@" >"$folder/calls" ||
    fail "valgrind failed: $(tail -n 3 "$folder/log")"
}

if [ "$mode" = --profile ]; then
  callgrind --toggle-collect=icount::measured "$program" --engine "$scenario"
  [ -s "$folder/calls" ] || fail "there is no scenario $scenario"
  echo "instructions per message, with those of the ring in memory"
  messages=$(awk '{ sum += $3 } END { print sum }' "$folder/calls")
  # What was inlined is listed by its file; the file is left out, so that it counts for its function.
  callgrind_annotate --auto=no --threshold=100 --show-percs=no "$folder/out" |
    sed -nE 's/,//g; s/^ *([0-9]+) +[^ ]*\.(rs|c|h|S):(.*)$/\1 \3/p' | sed -E 's/ \[[^]]*\]$//' |
    awk -v messages="$messages" '
      { count = $1; sub(/^[0-9]+ /, ""); sum[$0] += count; all += count }
      END { for (name in sum) printf "%10.1f  %s\n", sum[name] / messages, name; printf "%10.1f  all\n", all / messages }' |
    sort -rn | cut -c 1-150 | head -n 40
  exit
fi

callgrind --zero-before=icount::measured --dump-after=icount::measured "$program" --count
number=0
while read -r kind name messages; do
  number=$((number + 1))
  instructions=$(sed -n 's/^totals: //p' "$folder/out.$number")
  [ -n "$instructions" ] || fail "call $number of the program was not counted"
  echo "$kind $name $messages $instructions"
done <"$folder/calls" | awk '
  {
    key = $1 " " $2
    if (key in messages) {
      per_message[$1] = ($4 - instructions[key]) / ($3 - messages[key])
      if ($1 == "echo") printf "%-18s %.1f\n", $2, per_message["echo"] - per_message["ring"]
    }
    messages[key] = $3; instructions[key] = $4
  }' >"$folder/counts"
[ -s "$folder/counts" ] || fail "nothing was counted"

compiler=$(rustc --version | cut -d ' ' -f 1,2)
if [ "$mode" = --update ]; then
  { echo "# Instructions per message, by scripts/icount.sh --update with $compiler."; cat "$folder/counts"; } >"$expected"
  cat "$expected"
  exit
fi

grep -qF "with $compiler." "$expected" || echo "icount: $expected was made by another compiler than $compiler; if nothing else changed, update it" >&2
awk -v tolerance="$tolerance_percent" '
  /^#/ { next }
  FNR == NR { expected[$1] = $2; next }
  {
    seen[$1] = 1
    if (!($1 in expected)) { printf "%-18s %12.1f  not in the file\n", $1, $2; failed = 1; next }
    change = 100 * ($2 / expected[$1] - 1)
    verdict = change > tolerance ? "GREW" : change < -tolerance ? "SHRANK" : "ok"
    if (verdict != "ok") failed = 1
    printf "%-18s %12.1f  expected %12.1f  %+6.1f %%  %s\n", $1, $2, expected[$1], change, verdict
  }
  END {
    for (name in expected) if (!(name in seen)) { printf "%-18s was not counted\n", name; failed = 1 }
    if (failed) print "what was meant to change is taken over by scripts/icount.sh --update; say why in the commit"
    exit failed
  }' "$expected" "$folder/counts"
