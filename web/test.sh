#!/bin/sh
# Tests the browser side: types, units, and the page in Chromium against the real server.
#
#   MUSTER_BIN=target/debug/muster web/test.sh     the server to test against (this is the default)
#   MUSTER_LONG=1 web/test.sh                      watches the heap for ten minutes instead of half a one
#   web/test.sh --no-browser                       types and units only
#
# What is missing is installed: Chromium from Debian, the rest from npm. Screenshots are left in web/artefacts/.
set -eu
cd "$(dirname "$0")"

case "${MUSTER_BIN:=../target/debug/muster}" in
  /*) ;;
  ../target/*) MUSTER_BIN="$PWD/$MUSTER_BIN" ;;
  *) MUSTER_BIN="$OLDPWD/$MUSTER_BIN" ;;
esac
export MUSTER_BIN

if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null; then
  echo "web/test.sh: Node 20 or newer is needed" >&2
  exit 1
fi
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --no-audit --no-fund
fi

npm run --silent check
npm run --silent test
[ "${1:-}" = --no-browser ] && exit 0

CHROMIUM="${CHROMIUM:-$(command -v chromium || true)}"
if [ -z "$CHROMIUM" ]; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
  CHROMIUM="$(command -v chromium)"
fi
export CHROMIUM
if [ ! -x "$MUSTER_BIN" ]; then
  echo "web/test.sh: no server at $MUSTER_BIN; build it with: cargo build" >&2
  exit 1
fi
npm run --silent browser
