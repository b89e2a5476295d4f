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

# needs_package NAME: skips the test when Debian's package is not installed.
needs_package() {
    dpkg -s "$1" >/dev/null 2>&1 && return
    echo "the package $1 is not installed"
    exit 77
}

# own_build FILE...: $work/own as a build folder with links to those of $build, for the test's own data and reports.
own_build() {
    mkdir own
    for file in "$@"; do ln -s "$build/$file" own/; done
    export BUILD=$work/own
}

# refused_by PROGRAM WHAT MESSAGE OPTIONS...: says one line with MESSAGE, and exits with $status, 1 or 2.
refused_by() {
    local program=$1 what=$2 message=$3
    status=0
    shift 3
    "$build/$program" "$@" >out 2>err || status=$?
    [ $status = 1 ] || [ $status = 2 ] || wrong "$what: exit status $status"
    [ "$(wc -l <err)" = 1 ] && grep -q "^$program: .*$message" err || wrong "$what: $(head -n 2 err)"
}
