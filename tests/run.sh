#!/bin/bash
# Runs every unit test and every end-to-end test against the programs in $BUILD (default: build).
#   tests/run.sh [NAME...]      e.g. tests/run.sh test_safetensors e2e_resume
# A test passes with exit status 0 and is skipped with 77 (its last line says why). The output of one that
# fails is shown; all outputs are in $BUILD/tests/NAME.log. Exit status 1 if any failed.
set -u
cd "$(dirname "$0")/.." || exit 1
export BUILD=${BUILD:-build}
logs=$BUILD/tests
mkdir -p "$logs"
passed=0 failed=0 skipped=0

# The host frees little of what it allocates, by design; the library must free everything.
unit_options=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=1
e2e_options=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

run_test() {  # NAME COMMAND...
    local name=$1 start status
    shift
    start=$EPOCHREALTIME
    "$@" </dev/null >"$logs/$name.log" 2>&1
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

wanted() {  # NAME PATTERN...: whether NAME is among the patterns, or there are none
    local name=$1 one
    shift
    [ $# -gt 0 ] || return 0
    for one in "$@"; do [ "$one" != "$name" ] || return 0; done
    return 1
}

shopt -s nullglob
for source in tests/test_*.c; do
    name=$(basename "$source" .c)
    wanted "$name" "$@" && ASAN_OPTIONS=$unit_options run_test "$name" "$BUILD/tests/$name"
done
for script in tests/e2e_*.sh; do
    name=$(basename "$script" .sh)
    wanted "$name" "$@" && ASAN_OPTIONS=$e2e_options run_test "$name" bash "$script"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
