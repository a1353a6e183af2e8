#!/usr/bin/env bash
# autobahn.sh URL [CASES]
#
# Runs the Autobahn|Testsuite's fuzzing client (wstest) against a server that
# already listens on URL, such as ws://127.0.0.1:8080/echo, and ends with
# 'N passed, N failed'. Strict: NON-STRICT counts as failed, and so does a case
# that did not run.
#
# CASES is a list of case ids and globs; a leading '-' leaves out. The default
# is everything but compression: '*,-12.*,-13.*'.
#
# The suite runs on Python 2.7 only; its packages are installed once, into
# target/autobahn, and need a C compiler.
#   AUTOBAHN_PYTHON2   a Python 2.7, where none is found by itself
#   AUTOBAHN_OUT       the folder for the reports (default: target/autobahn/reports)
#   AUTOBAHN_STRICT    0: NON-STRICT counts as passed
#   AUTOBAHN_TIMEOUT_S the time limit for the whole run (default: 1800)
# Exit status: 0 all passed; 1 something failed; 2 the suite could not run.
set -euo pipefail

die() { printf 'autobahn.sh: %s\n' "$*" >&2; exit 2; }

[ $# -ge 1 ] && [ $# -le 2 ] || die "usage: autobahn.sh ws://HOST:PORT/PATH [CASES]"
url=$1 cases=${2:-'*,-12.*,-13.*'}
root=$(cd "$(dirname "$0")/.." && pwd)
home=$root/target/autobahn
out=${AUTOBAHN_OUT:-$home/reports}

find_python2() {
  local candidate
  for candidate in "${AUTOBAHN_PYTHON2:-}" python2.7 python2 "$HOME"/.pyenv/versions/2.7*/bin/python pypy; do
    [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null || continue
    "$candidate" -c 'import sys; print(sys.executable)'
    return
  done
  return 1
}

install_suite() {
  local python2
  python2=$(find_python2) || die 'the suite needs Python 2.7 and none was found: name one in AUTOBAHN_PYTHON2=/path/to/python2.7 (pyenv or pypy have it)'
  rm -rf "$home/maker" "$home/env"
  mkdir -p "$home"
  # virtualenv 20.21 is the last that makes environments for Python 2.7.
  { python3 -m venv "$home/maker" &&
      "$home/maker/bin/pip" install 'virtualenv==20.21.1' &&
      "$home/maker/bin/virtualenv" -p "$python2" "$home/env" &&
      "$home/env/bin/pip" install 'autobahntestsuite==25.10.1'; } >"$home/install.log" 2>&1 ||
    { tail -n 20 "$home/install.log" >&2; die "the suite could not be installed; the whole log is $home/install.log"; }
  touch "$home/env/.ready"
}
[ -e "$home/env/.ready" ] || install_suite

rm -rf "$out"
mkdir -p "$out"
python3 - "$url" "$cases" "$out" >"$out/spec.json" <<'PY'
import json, sys
url, cases, out = sys.argv[1:]
words = cases.replace(',', ' ').split()
json.dump({'outdir': out, 'servers': [{'agent': 'ringwire', 'url': url}],
           'cases': [w for w in words if w[0] != '-'],
           'exclude-cases': [w[1:] for w in words if w[0] == '-'], 'exclude-agent-cases': {}}, sys.stdout)
PY

status=0
timeout -k 10 "${AUTOBAHN_TIMEOUT_S:-1800}" "$home/env/bin/wstest" -m fuzzingclient -s "$out/spec.json" >"$out/run.log" 2>&1 || status=$?
[ "$status" = 0 ] || { tail -n 10 "$out/run.log"; echo "wstest ended with status $status"; }

python3 - "$out" "$status" "${AUTOBAHN_STRICT:-1}" <<'PY'
import collections, json, re, sys
out, status, strict = sys.argv[1], int(sys.argv[2]), sys.argv[3] != '0'
log = open(out + '/run.log', errors='replace').read()
found = re.search(r'Ok, will run (\d+) test cases', log)
try:
    results = json.load(open(out + '/index.json'))['ringwire']
except (OSError, ValueError, KeyError):
    results = {}
counts, passed, failed = collections.Counter(), 0, 0
for case, result in sorted(results.items(), key=lambda item: [int(n) for n in item[0].split('.')]):
    verdict, closing = result['behavior'], result['behaviorClose']
    counts[verdict] += 1
    fine = {'OK', 'INFORMATIONAL'} | (set() if strict else {'NON-STRICT'})
    if verdict in fine and closing in {'OK', 'INFORMATIONAL'}:
        passed += 1
    else:
        failed += 1
        print('FAILED %s: %s, close %s: %s' % (case, verdict, closing, out + '/' + result['reportfile']))
missing = (int(found.group(1)) if found else 0) - len(results)
if missing > 0:
    print('%d cases did not run' % missing)
    failed += missing
print(', '.join('%s %d' % pair for pair in sorted(counts.items())) or 'no case ran: see %s/run.log' % out)
print('%d passed, %d failed' % (passed, failed))
sys.exit(2 if not results else 1 if failed or status else 0)
PY
