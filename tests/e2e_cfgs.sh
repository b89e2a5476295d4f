#!/bin/bash
# Every cfg that comes with the host, with optimizer=hrnn added under [net] and images and batch cut down:
# it trains 3 steps on random images without a number that is not finite, or is refused with a reason.
# tests/cfgs.expected holds the table.
#   tests/e2e_cfgs.sh [CFG...]     only these, by name (or CFGS="..."); OPTIMIZER= (empty) takes the host's own sgd
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=$(cd "${BUILD:-build}" && pwd) || exit 1
host=${HOST_DIR:-$BUILD/host}
expected=$PWD/tests/cfgs.expected
model=$PWD/weights/hrnn.safetensors
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
optimizer=${OPTIMIZER-hrnn}
size=64  # of images, at most; multiples of 32 for the detectors

shrink() {  # < cfg > smaller cfg
    awk -v size="$size" -v optimizer="$optimizer" -v model="$model" '
        function value(line) { sub(/^[^=]*=[ \t]*/, "", line); return line + 0 }
        /^[ \t]*\[/ {
            net = /^[ \t]*\[net/
            print
            if (net) print "batch=2\nsubdivisions=1\nseed=1"
            if (net && optimizer) print "optimizer=" optimizer "\noptimizer_weights=" model
            next
        }
        net && /^[ \t]*(batch|subdivisions|burn_in)[ \t]*=/ { next }  # 3 steps of a warm-up move nothing
        net && /^[ \t]*learning_rate[ \t]*=/ && !optimizer { print "learning_rate=1e-6"; next }
        net && /^[ \t]*time_steps[ \t]*=/ { print "time_steps=2"; next }
        net && /^[ \t]*(width|height)[ \t]*=/ && value($0) > size { sub(/=.*/, "=" size) }
        /^[ \t]*crop_(width|height)[ \t]*=/ && value($0) > size { sub(/=.*/, "=" size) }
        { print }'
}

cd "$host" || exit 1   # trees and maps are named relative to it
[ $# -gt 0 ] || [ -z "${CFGS:-}" ] || read -ra named <<<"$CFGS"
[ -z "${named:-}" ] || set -- "${named[@]}"
if [ $# -eq 0 ]; then set -- cfg/*.cfg; else set -- "${@/#/cfg/}"; fi
# One cfg, in files of its own.
try() {
    local name=${1#cfg/} status row
    shrink <"$1" >"$work/$name"
    OMP_NUM_THREADS=1 "$BUILD/dev/train-steps" "$work/$name" 3 >"$work/$name.out" 2>"$work/$name.err" </dev/null
    status=$?
    # a reason is the last line of what was said, a sanitizer's report shows in the log
    case $status in
        0) row="$name: ok" ;;
        1 | 3) row="$name: $(tail -n 1 "$work/$name.err")" ;;
        *) row="$name: FAILED with status $status: $(tail -n 1 "$work/$name.err")"; tail -n 4 "$work/$name.err" >&2 ;;
    esac
    rm -f "$work/$name.out" "$work/$name.err"
    echo "$row" | tee "$work/$name.row"
}
export -f try shrink
export work BUILD optimizer size model
# Two at a time, on a core each: that is faster than one after the other on two cores.
printf '%s\n' "$@" | xargs -P 2 -I '{}' bash -c 'try "$1"' bash '{}'
for cfg in "$@"; do cat "$work/${cfg#cfg/}.row"; done >"$work/table"

if [ "$optimizer" = hrnn ]; then
    for cfg in "$@"; do grep "^${cfg#cfg/}: " "$expected"; done >"$work/expected"
    diff "$work/expected" "$work/table" || { echo "differs from tests/cfgs.expected"; exit 1; }
else
    ! grep FAILED "$work/table"
fi
