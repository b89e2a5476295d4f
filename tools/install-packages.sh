#!/bin/sh
# Installs the Debian packages that a part of the project needs, and only those that are missing.
#   tools/install-packages.sh GROUP...     groups: lib build test demo data npm clang mpi format
# Needs root or sudo only when something is missing. Exit status 1 and one line if it cannot.
set -eu

# lib: what the optimizers alone need. build: the compilers and libraries; fetching, checking and patching the host's source.
lib="gcc make pkg-config libcjson-dev librandom123-dev libxxhash-dev"
build="$lib g++ patch ca-certificates xz-utils libopenblas-dev libopencv-dev zlib1g-dev"
test="libcmocka-dev gnuplot-nox libopenmpi-dev openmpi-bin dataset-fashion-mnist"
demo="gnuplot-nox dataset-fashion-mnist"
data="libpng-dev zlib1g-dev"
npm="npm"
clang="clang libomp-dev"
mpi="libopenmpi-dev openmpi-bin"
format="clang-format"

fail() {
    echo "install-packages: $1" >&2
    exit 1
}

missing=""
for group in "$@"; do
    case $group in
        lib|build|test|demo|data|npm|clang|mpi|format) eval "wanted=\$$group" ;;
        *) fail "no group '$group': expected lib, build, test, demo, data, npm, clang, mpi or format" ;;
    esac
    for package in $wanted; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing="$missing $package"
    done
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null; then
    as_root="sudo"
else
    fail "missing packages:$missing (neither root nor sudo: ask an administrator to install them)"
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"
}

echo "installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt update >"$log" 2>&1 || { cat "$log" >&2; fail "apt-get update failed"; }
# shellcheck disable=SC2086
apt install -y --no-install-recommends $missing >"$log" 2>&1 ||
    { cat "$log" >&2; fail "could not install$missing"; }
