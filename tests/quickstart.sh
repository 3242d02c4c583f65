#!/usr/bin/env bash
# What the README promises, typed as a newcomer would: one terminal serves, another plays over each transport, tickets and
# keys are made and judged, and the server stops as it should. MUSTER_BIN names the binary.
set -euo pipefail
cd "$(dirname "$0")/.."
muster=${MUSTER_BIN:-${CARGO_TARGET_DIR:-$PWD/target}/debug/muster}
work=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

fail() {
    printf 'quickstart: %s\n' "$*" >&2
    cat "$work"/*.out "$work"/*.err >&2 2>/dev/null || true
    exit 1
}

# Waits until a file has a line like this.
await() {
    for _ in $(seq 100); do
        grep -q "$2" "$1" 2>/dev/null && return 0
        kill -0 "$server" 2>/dev/null || fail "the server is gone"
        sleep 0.1
    done
    fail "no '$2' in $(basename "$1") within 10 s"
}

# Stops the server as an init system does, and wants exit code 0 within 5 s.
stop() {
    local began=$SECONDS code=0
    kill -TERM "$server"
    wait "$server" || code=$?
    server=
    [ "$code" = 0 ] || fail "the server ended with $code at SIGTERM"
    [ $((SECONDS - began)) -le 5 ] || fail "the server took $((SECONDS - began)) s to stop"
}

# The first terminal.
"$muster" serve --dev --listen 127.0.0.1:0 >"$work/serve.out" 2>"$work/serve.err" &
server=$!
await "$work/serve.out" '  play  '
address=$(sed -n 's/^muster .* serves on \([^,]*\),.*/\1/p' "$work/serve.out")
[ -n "$address" ] || fail "the banner names no address"
grep -q 'certificate  sha-256 [0-9a-f]\{64\}' "$work/serve.out" || fail "the banner names no certificate hash"
grep -Eq "play +cargo run --release -- play" "$work/serve.out" || fail "the banner does not say how to play"

# The second terminal, as the README has it, and with the ticket of the banner.
for transport in webtransport websocket; do
    "$muster" play --url "muster://$address" --transport "$transport" --seconds 2 --json >"$work/$transport.out" \
        2>"$work/$transport.err" || fail "play over $transport failed"
    grep -q "\"transport\":\"$transport\"" "$work/$transport.out" || fail "play was not over $transport"
    grep -q '"summary":true' "$work/$transport.out" || fail "no summary over $transport"
    ticks=$(sed -n 's/.*"summary":true.*"snapshots":\([0-9]*\).*/\1/p' "$work/$transport.out")
    [ "$ticks" -ge 5 ] || fail "only $ticks snapshots in 2 s over $transport"
    echo "play over $transport: $ticks snapshots in 2 s"
done
# Which of the two wins is a matter of the machine's load; tests/client.rs holds the order of the race.
for flags in "" "--prefer websocket"; do
    # shellcheck disable=SC2086
    "$muster" play --url "muster://$address" $flags --seconds 2 --json >"$work/race.out" 2>"$work/race.err" ||
        fail "play $flags failed"
    grep -Eq '"transport":"web(transport|socket)"' "$work/race.out" || fail "play $flags did not say its transport"
done
ticket=$(sed -n 's/^  ticket  *//p' "$work/serve.out")
"$muster" play --url "muster://$address" --ticket "$ticket" --seconds 1 >"$work/ticket.out" || fail "the banner's ticket"
if "$muster" play --url "muster://$address" --ticket "$ticket" --seconds 1 >"$work/again.out" 2>"$work/again.err"; then
    fail "the same ticket opened the door twice"
fi
grep -q 'ticket-used' "$work/again.err" || fail "the second use was refused with: $(cat "$work/again.err")"

# What an operator looks at.
for path in healthz readyz metrics v1/lobbies v1/certificate-hash; do
    curl -fsS --max-time 5 "http://$address/$path" >"$work/http.out" || fail "/$path does not answer"
done
if grep -q "$ticket" "$work"/serve.*err; then fail "a ticket stands in the log"; fi
stop
echo "serve, play, the HTTP interface and SIGTERM: ok"

# A server with keys of its own, and a ticket made by hand.
"$muster" key generate --out "$work/ticket.pem" >"$work/key.out"
"$muster" cert generate --out "$work/cert" >"$work/cert.out"
printf 'listen = "127.0.0.1:0"\n[tickets]\nkeys = ["%s"]\n[tls]\ncertificate = "%s"\nkey = "%s"\n' \
    "$work/ticket.pem.pub" "$work/cert/cert.pem" "$work/cert/key.pem" >"$work/muster.toml"
"$muster" config check --config "$work/muster.toml" >"$work/check.out" || fail "config check refuses a good file"
"$muster" serve --config "$work/muster.toml" >"$work/keyed.out" 2>"$work/keyed.err" &
server=$!
await "$work/keyed.out" 'serves on'
address=$(sed -n 's/^muster .* serves on \([^,]*\),.*/\1/p' "$work/keyed.out")
ticket=$("$muster" ticket mint --key "$work/ticket.pem" --sub ada --claim 'game="arena"')
printf '%s\n' "$ticket" | "$muster" ticket verify --keys "$work/ticket.pem.pub" >"$work/claims.out" || fail "verify"
"$muster" play --url "muster://$address" --ticket "$ticket" --seconds 1 --json >"$work/keyed-play.out" \
    2>"$work/keyed-play.err" || fail "a minted ticket was refused"
kill -HUP "$server"
stop
echo "keys, certificates, configuration and minted tickets: ok"

# Refusals an operator meets: one line, exit code 78.
printf 'listne = "127.0.0.1:0"\n' >"$work/typo.toml"
code=0
"$muster" serve --config "$work/typo.toml" >"$work/typo.out" 2>"$work/typo.err" || code=$?
[ "$code" = 78 ] && [ "$(wc -l <"$work/typo.err")" = 1 ] || fail "a typo in the configuration gave $code"
echo "a typo in the configuration is refused in one line: ok"

