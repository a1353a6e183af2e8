#!/usr/bin/env bash
# with-server.sh [NAME=VALUE...] [SERVER-OPTION...] -- COMMAND...
#
# Starts the server on a free port of 127.0.0.1 with the given environment and
# options, waits until it listens, runs COMMAND with RINGWIRE_URL, RINGWIRE_WS,
# RINGWIRE_PID and SERVER_LOG set, and stops the server with SIGTERM. Its control
# plane is on a free port as well: RINGWIRE_CONTROL_URL, with the token
# RINGWIRE_CONTROL_TOKEN.
# Exit status: that of COMMAND; if it was 0, that of the server (COMMAND may
# have stopped it itself); 2 if the server did not start.
#
# SERVER_BIN   the program (default: target/release/ringwire)
# SERVER_LOG   where the server's log goes (default: a file under target/logs)
# SERVER_WRAP    a command line put before the server, such as 'setpriv --reuid 65534'
set -euo pipefail

die() { printf 'with-server.sh: %s\n' "$*" >&2; exit 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
settings=() options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  if [[ $1 =~ ^[A-Z_][A-Z0-9_]*= ]]; then settings+=("$1"); else options+=("$1"); fi
  shift
done
[ $# -ge 2 ] || die 'usage: with-server.sh [NAME=VALUE...] [SERVER-OPTION...] -- COMMAND...'
shift

binary=${SERVER_BIN:-$root/target/release/ringwire}
[ -x "$binary" ] || die "no program at $binary: run 'cargo build --release' first"
export SERVER_LOG=${SERVER_LOG:-$root/target/logs/server-$$.log}
mkdir -p "$(dirname "$SERVER_LOG")"
read -ra wrap <<<"${SERVER_WRAP:-}"

# Ends the server, by force after 30 s, and leaves its exit status in `stopped`.
stop_server() {
  kill -TERM "$server" 2>/dev/null || true
  for _ in $(seq 300); do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$server" 2>/dev/null || true
  stopped=0
  wait "$server" || stopped=$?
}

# What runs is ended also when this script is.
server='' command=''
trap 'for p in $command $server; do kill -TERM "$p" 2>/dev/null || true; done' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
NO_COLOR=1 env RINGWIRE_ADMIN_TOKEN="$token" "${settings[@]}" "${wrap[@]}" "$binary" serve \
  --listen 127.0.0.1:0 --admin 127.0.0.1:0 "${options[@]}" 2>"$SERVER_LOG" &
server=$!
address='' control=''
for _ in $(seq 150); do
  address=$(grep -aom1 'listening on 127\.0\.0\.1:[0-9]*' "$SERVER_LOG" | grep -o '127.*') &&
    control=$(grep -aom1 'control plane on http://[^ ]*' "$SERVER_LOG" | grep -o 'http:.*') && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
[ -n "$address" ] && [ -n "$control" ] || { tail -n 20 "$SERVER_LOG" >&2; die "the server did not start; its log is $SERVER_LOG"; }

status=0
RINGWIRE_CONTROL_URL=$control RINGWIRE_CONTROL_TOKEN=$token RINGWIRE_URL=http://$address/ RINGWIRE_WS=ws://$address RINGWIRE_PID=$server "$@" &
command=$!
wait "$command" || status=$?
command=
stop_server
server=
if [ "$stopped" != 0 ]; then
  tail -n 20 "$SERVER_LOG" >&2
  echo "with-server.sh: the server ended with status $stopped; its log is $SERVER_LOG" >&2
  [ "$status" != 0 ] || status=$stopped
fi
exit "$status"
