#!/bin/bash
# Runs unit tests and end-to-end tests against the programs in $BUILD (default: build).
#   tests/run.sh [NAME...]      these tests, e.g. test_safetensors e2e_resume; default: those of the set $TESTS
#   TESTS=short                 the unit tests, without the slow ones that are named below
#   TESTS=medium                every test; the default
#   TESTS=long                  every test, some of them in the long versions that are named below
# A test passes with exit status 0 and is skipped with 77 (its last line says why). The output of one that
# fails is shown; all outputs are in $BUILD/tests/NAME.log. Exit status 1 if any failed.
set -u
cd "$(dirname "$0")/.." || exit 1
export BUILD=${BUILD:-build}
size=${TESTS:-medium}
logs=$BUILD/tests
mkdir -p "$logs"
slow=(test_cuda test_estimators test_host_networks test_problem_users test_problems)
# What a long version sets, unless it is set already.
declare -A long_versions=(
    [test_fuzz]=FUZZ=10000
    [e2e_options]=FUZZ=2000
    [e2e_metatrain]=KILLS=20
    [e2e_resume]=KILLS=30
)
case $size in
    short | medium | long) ;;
    *) echo "run.sh: TESTS=$size, expected short, medium or long" >&2; exit 1 ;;
esac
passed=0 failed=0 skipped=0

# The host frees little of what it allocates, by design; the library must free everything.
unit_options=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=1
e2e_options=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

run_test() {  # NAME COMMAND...
    local name=$1 start status version=()
    shift
    if [ "$size" = long ] && [ -n "${long_versions[$name]:-}" ]; then
        version=("${long_versions[$name]}")
        local variable=${version[0]%%=*}
        [ -z "${!variable:-}" ] || version=()
    fi
    start=$EPOCHREALTIME
    env "${version[@]}" "$@" </dev/null >"$logs/$name.log" 2>&1
    status=$?
    local took
    took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }')
    case $status in
        0)  passed=$((passed + 1)); echo "ok    $name ($took)" ;;
        77) skipped=$((skipped + 1)); echo "skip  $name: $(tail -n 1 "$logs/$name.log")" ;;
        *)  failed=$((failed + 1)); echo "FAIL  $name (exit status $status, $took)"
            tail -n 60 "$logs/$name.log" | sed 's/^/      /' ;;
    esac
}

among() {  # NAME LIST...
    local name=$1 one
    shift
    for one in "$@"; do [ "$one" != "$name" ] || return 0; done
    return 1
}

names=("$@")
wanted() {  # NAME: whether it was asked for, by name or as part of the set
    if [ ${#names[@]} -gt 0 ]; then
        among "$1" "${names[@]}"
    elif [ "$size" = short ]; then
        [[ $1 = test_* ]] && ! among "$1" "${slow[@]}"
    fi
}

shopt -s nullglob
for source in tests/test_*.c; do
    name=$(basename "$source" .c)
    wanted "$name" && ASAN_OPTIONS=$unit_options run_test "$name" "$BUILD/tests/$name"
done
for script in tests/e2e_*.sh; do
    name=$(basename "$script" .sh)
    wanted "$name" && ASAN_OPTIONS=$e2e_options run_test "$name" bash "$script"
done

echo "$passed passed, $failed failed, $skipped skipped in $SECONDS s"
[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
