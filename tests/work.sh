# shellcheck shell=bash
# What the end-to-end tests share. Sourced from the repository's root with the programs of $BUILD that a test needs, it
# skips the test when one is missing, and enters a work folder.
#   . tests/work.sh PROGRAM...

root=$PWD
build=${BUILD:-build}
[[ $build = /* ]] || build=$root/$build
for program in "$@"; do
    if ! [ -x "$build/$program" ]; then
        echo "$build/$program is not built"
        exit 77
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

wrong() {
    echo "FAIL: $1"
    failures=$((failures + 1))
}
