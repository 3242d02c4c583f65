#!/bin/sh
# The load tester in less than a minute: every row of the figures with a handful of players, players in processes of their
# own, a churn, revocations, a server that is there already, and what it says when something is wrong. Figures of so short a run mean
# nothing.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
cargo build --quiet -p muster-loadtest --bins
cargo build --quiet -p muster --bin muster
loadtest=${CARGO_TARGET_DIR:-target}/debug/muster-loadtest
muster=${MUSTER_BIN:-${CARGO_TARGET_DIR:-target}/debug/muster}

# What a run said is shown when it did not go as it should.
measure() {
    "$loadtest" "$@" --quiet >"$folder/out.txt" 2>"$folder/error.txt" || { cat "$folder/out.txt" "$folder/error.txt"; exit 1; }
}
# What must not stand in a report. (`! grep` would not end the script.)
lacks() {
    if grep "$1" "$2"; then exit 1; fi
}
# A run that must fail, with this line.
refuse() {
    line=$1
    shift
    if "$loadtest" "$@" --quiet >"$folder/out.txt" 2>"$folder/error.txt"; then
        echo "this was measured: $*" >&2
        exit 1
    fi
    grep -q "$line" "$folder/error.txt" || { cat "$folder/error.txt"; exit 1; }
}

measure --spawn --scale 0.01 --rounds 1 --duration 400ms --warmup 50ms \
    --out "$folder/figures.json" --html "$folder/figures.html"
grep -q '"row": "ramp"' "$folder/figures.json"
grep -q 'class=strip' "$folder/figures.html"
lacks not_measured "$folder/figures.json"

measure --spawn --players 21 --processes 2 --duration 400ms --warmup 100ms \
    --compare websocket-tls,mix,floor-webtransport --out "$folder/report.json" --html "$folder/report.html"
grep -q '"subject": "muster, both transports"' "$folder/report.json"
grep -q '"seated": 21' "$folder/report.json"
grep -q '<svg' "$folder/report.html"

measure --spawn --players 10 --scenario churn --duration 1s --warmup 100ms --compare websocket,webtransport \
    --out "$folder/churn.json"
lacks '"turnover": 0' "$folder/churn.json"

measure --spawn --players 21 --scenario revoke --revocations 10/s --duration 2s --warmup 100ms --tls --processes 2 \
    --out "$folder/revoke.json" --html "$folder/revoke.html"
grep -q '"revoked_accepted": 0' "$folder/revoke.json"
lacks '"revoked_refused": 0' "$folder/revoke.json"
grep -q 'to Goodbye 4403' "$folder/revoke.html"
measure --spawn --players 20 --scenario revoke --revocations 10/s --duration 2s --warmup 100ms --transport webtransport \
    --out "$folder/revoke.json"
lacks '"revoked_refused": 0' "$folder/revoke.json"

"$muster" key generate --out "$folder/key.pem" >/dev/null
"$muster" serve --dev --listen 127.0.0.1:0 >"$folder/server.txt" 2>&1 &
server=$!
for _ in $(seq 100); do
    url=$(sed -n 's|.*serves on \([0-9.:]*\),.*|muster://\1|p' "$folder/server.txt")
    [ -z "$url" ] || break
    sleep 0.1
done
measure --url "$url" --players 4 --transport mix --duration 400ms --warmup 100ms
refuse 'the server refuses the tickets (bad-ticket' --url "$url" --key "$folder/key.pem" --players 4
refuse 'no game `chess`' --url "$url" --game chess --players 4
refuse 'cannot reach 127.0.0.1:1' --url muster://127.0.0.1:1
(ulimit -n 64 && refuse '264 open files are needed and 64 allowed' --spawn --players 100)
echo "load test: smoke run passed"
