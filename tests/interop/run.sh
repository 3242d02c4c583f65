#!/usr/bin/env bash
# Real backends of the kinds that games have, each with a muster in front of it: their players log in and play over both
# transports, and who must not get in is refused. Installs what the backends run on under target/interop when it is missing.
# MUSTER names the binary; by default a debug one is built. Arguments name
# kinds of backend, such as node_oidc; without one all are run. Needs python3 with venv, and Node 20 with npm.
set -euo pipefail
[ -z "${MUSTER:-}" ] || MUSTER=$(realpath "$MUSTER")
cd "$(dirname "$0")"
here=$PWD
root=$(cd ../.. && pwd)
work=$root/target/interop

if [ -z "${MUSTER:-}" ]; then
    (cd "$root" && cargo build --quiet --locked --bin muster)
    MUSTER=${CARGO_TARGET_DIR:-$root/target}/debug/muster
fi

# What is installed is named by a copy of the list; when the list changes, it is installed anew.
python=$work/venv/bin/python
if ! cmp -s requirements.txt "$work/venv/installed.txt"; then
    echo "installing the Python backends' packages"
    python3 -m venv --clear "$work/venv"
    "$python" -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
    cp requirements.txt "$work/venv/installed.txt"
fi
mkdir -p "$work/node"
if ! cmp -s package.json "$work/node/installed.json"; then
    echo "installing the Node backend's packages"
    cp package.json "$work/node/package.json"
    npm install --silent --no-audit --no-fund --no-package-lock --prefix "$work/node"
    cp package.json "$work/node/installed.json"
fi
# Node looks for modules beside the program, so the programs go to where they are; muster's own client joins them there.
cp node_oidc/provider.mjs django_session/page.js django_session/in_node.mjs "$work/node/"
ln -sfn "$root/web/client" "$work/node/node_modules/muster-client"

exec "$python" -B "$here/interop.py" --muster "$MUSTER" --node "$work/node" "$@"
