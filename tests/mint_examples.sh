#!/bin/sh
# Mints a ticket with each program of examples/tickets and lets muster verify it.
# Installs PyJWT and jose under target/ when they are missing. MUSTER names the binary; by default a debug one is built.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
work=$root/target/mint-examples
mkdir -p "$work/node"

if [ -z "${MUSTER:-}" ]; then
    cargo build --quiet --bin muster
    MUSTER=${CARGO_TARGET_DIR:-$root/target}/debug/muster
fi

python=$work/venv/bin/python
"$python" -c 'import jwt, cryptography' 2>/dev/null || {
    python3 -m venv "$work/venv"
    "$python" -m pip install --quiet --disable-pip-version-check 'PyJWT[crypto]>=2.8,<3'
}
[ -d "$work/node/node_modules/jose" ] || (
    cd "$work/node"
    echo '{ "private": true }' >package.json
    npm install --silent --no-audit --no-fund 'jose@^6'
)
# Node looks for modules beside the program, so the program goes to where they are.
cp "$root/examples/tickets/mint.mjs" "$work/node/mint.mjs"

key=$work/ticket.pem
"$MUSTER" key generate --alg EdDSA --out "$key" --force >"$work/generated"

check() {
    name=$1
    ticket=$2
    claims=$(printf '%s\n' "$ticket" | "$MUSTER" ticket verify --keys "$key.pub" --explain) || {
        echo "$name: refused: $claims" >&2
        exit 1
    }
    case $claims in
    *'"sub": "ada"'*) ;;
    *)
        echo "$name: the claims do not name the player: $claims" >&2
        exit 1
        ;;
    esac
    # The same ticket for another audience must be refused, or the acceptance above says nothing.
    if refusal=$(printf '%s\n' "$ticket" | "$MUSTER" ticket verify --keys "$key.pub" --aud elsewhere); then
        echo "$name: accepted for another audience" >&2
        exit 1
    fi
    [ "$refusal" = "4401 bad-ticket" ] || {
        echo "$name: refused with: $refusal" >&2
        exit 1
    }
    echo "$name: ok"
}

check mint.py "$("$python" "$root/examples/tickets/mint.py" "$key" ada)"
check mint.mjs "$(node "$work/node/mint.mjs" "$key" ada)"
