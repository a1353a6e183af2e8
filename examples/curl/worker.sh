#!/usr/bin/env bash
# worker.sh ROUTE: answers every message of every WebSocket of a route, with curl.
#
#   ringwire serve --config shared.toml --control /run/ringwire/control.sock
#   CONTROL=/run/ringwire/control.sock examples/curl/worker.sh /feed
#
# with `[[route]]`, `path = "/feed"`, `mode = "shared"` in shared.toml. Over TCP it is
# ADMIN=127.0.0.1:9002, and the token in RINGWIRE_TOKEN. It needs bash and curl, nothing else.
#
# It follows GET /v1/events, opens each socket that has something to say, answers what waits there
# and releases it. SIGTERM ends it between two messages. It may be killed at any moment as well: what
# it had not acknowledged (by the next read, or by release) is read again when its lease has ended,
# after 30 s. Sockets that leave (404, 410) or are taken by others (409, 412) do not end it, and what
# the server cannot take at the moment (429, 503) is asked again after `Retry-After`. Put your own code
# into `answer`.
set -euo pipefail

# From a file with the message to standard output.
answer() { tr '[:lower:]' '[:upper:]' <"$1"; }

route=${1:?usage: worker.sh ROUTE}
folder=$(mktemp -d)
stream='' busy='' stopping=''
trap 'rm -rf "$folder"; [ -z "$stream" ] || kill "$stream" 2>/dev/null || true' EXIT
# At once, or when the socket is released that it holds.
trap 'stopping=yes; [ -n "$busy" ] || exit 0' INT TERM

# The token goes through a file that only this user can read, not through the list of processes.
settings=$folder/settings
(umask 077; : >"$settings")
[ -z "${RINGWIRE_TOKEN:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$RINGWIRE_TOKEN" >"$settings"
[ -z "${CONTROL:-}" ] || printf 'unix-socket = "%s"\n' "$CONTROL" >>"$settings"
base=http://${ADMIN:-127.0.0.1:9002}/v1

field() { sed -n "s/^$1: *\([^[:space:]]*\).*/\1/Ip" "$folder/head"; }
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$folder/body"; }

# call METHOD PATH [OPTION...]: the status; the body is in $folder/body, the header in $folder/head.
# Without an answer the status is 000. What the server cannot take at the moment is sent some times
# again; a peer that is too slow (`full`) was waited for already.
call() {
  local status attempt pause
  for attempt in 1 2 3 4 5 6; do
    : >"$folder/body"
    : >"$folder/head"
    status=$(curl --silent --config "$settings" --max-time 90 --request "$1" "$base$2" "${@:3}" \
      --output "$folder/body" --dump-header "$folder/head" --write-out '%{http_code}') || true
    case $status in 429 | 503) ;; *) break ;; esac
    [ "$attempt" -lt 6 ] && ! grep -q '"code":"full"' "$folder/body" || break
    pause=$(field retry-after)
    [[ $pause =~ ^[1-5]$ ]] || pause=1
    # Several workers that were refused together do not come back together.
    sleep "$pause.$((RANDOM % 10))"
  done
  printf '%s' "$status"
}

# Answers what waits on the socket of this id.
serve() {
  local path=/websockets/$1 fence ack=0 status end wait release=true
  busy=yes
  if [ "$(call POST "$path/open")" != 200 ]; then # another worker has it, or it is gone
    busy=''
    [ -z "$stopping" ] || exit 0
    return 0
  fi
  fence=$(number fence)
  while :; do
    : >"$folder/message"
    # To look whether there is a message, `len` is left at what makes a socket readable, and a moment
    # is waited: more often comes at once. The rest of a large one is on its way.
    end=false wait='timeout=100'
    while [ "$end" != true ]; do
      # Asked again with the same `ack`, the same piece would come again.
      status=$(call POST "$path/read?$wait&fence=$fence&ack=$ack")
      if [ "$status" != 200 ]; then # 408: nothing waits any more, or the rest does not come
        [ ! -s "$folder/message" ] || release=false
        break 2
      fi
      wait='timeout=10000&len=1048576'
      ack=$(field ringwire-message)
      end=$(field ringwire-at-end)
      kind=$(field content-type)
      cat "$folder/body" >>"$folder/message"
    done
    answer "$folder/message" >"$folder/reply"
    status=$(call POST "$path/write?fence=$fence" --data-binary "@$folder/reply" --header "Content-Type: ${kind%;}")
    # Too slow a peer, a server too busy, or none: the message goes back, to be read again.
    case $status in 429 | 503 | 000) release=false && break ;; esac
    [ "$status" = 204 ] && [ -z "$stopping" ] || break
  done
  # After 412 somebody else holds it, and this changes nothing.
  call POST "$path/release?fence=$fence&ack=$release" >/dev/null
  busy=''
  [ -z "$stopping" ] || exit 0
}

# Sockets that had something to say before we listened; those where most waits come first.
serve_waiting() {
  local ids=() id
  local list="/websockets?status=unattended&limit=500&sort=queue_bytes&order=desc"
  while [ "$(call GET "$list" --get --data-urlencode "route=$route")" = 200 ]; do
    mapfile -t ids < <(sed 's/{"id":/\n&/g' "$folder/body" |
      sed -n 's/^{"id":"\([^"]*\)".*"inbox_messages":[1-9].*/\1/p')
    for id in "${ids[@]}"; do serve "$id"; done
    [ ${#ids[@]} = 500 ] || break
  done
}

# For ever, also over restarts of the server: what came while nobody listened is in the list.
after=''
while :; do
  query=(--get --data-urlencode "route=$route" --data-urlencode types=readable)
  [ -z "$after" ] || query+=(--data-urlencode "after=$after")
  event='' id_of_block=''
  exec 3< <(exec curl --silent --no-buffer --config "$settings" --fail-with-body "${query[@]}" "$base/events")
  stream=$!
  while IFS= read -r line <&3; do
    line=${line%$'\r'}
    case $line in
      'id: '*) id_of_block=${line#id: } ;;
      # Only with its end has a block come whole; the first one has an id alone.
      '') after=${id_of_block:-$after} event='' ;;
      'event: '*) event=${line#event: } ;;
      'data: '*)
        if [ "$event" = readable ]; then
          id=${line#*'"id":"'}
          serve "${id%%'"'*}"
        else
          serve_waiting # a gap: events were missed
        fi
        ;;
      'retry: '*) serve_waiting ;; # the first line of a stream: now we listen
    esac
  done
  sleep 1
done
