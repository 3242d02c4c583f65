#!/bin/sh
# A load test of a few seconds over both transports, with the floor: everybody is seated, snapshots come, the report is
# written. Figures of so short a run mean nothing.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo build --quiet -p muster-loadtest
./target/debug/muster-loadtest --spawn --players 20 --duration 1s --warmup 300ms --quiet \
    --compare websocket,websocket-tls,webtransport,mix,floor-websocket,floor-webtransport \
    --out "$folder/report.json" --html "$folder/report.html" >"$folder/table.txt" || { cat "$folder/table.txt"; exit 1; }
grep -q '"subject": "muster, WebTransport"' "$folder/report.json"
grep -q '<svg' "$folder/report.html"
if ./target/debug/muster-loadtest --url muster://127.0.0.1:1 --quiet >/dev/null 2>"$folder/error.txt"; then
    echo "a server that is not there was measured" >&2
    exit 1
fi
grep -q 'cannot reach 127.0.0.1:1' "$folder/error.txt"
echo "load test: smoke run passed"
