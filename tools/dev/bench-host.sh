#!/bin/bash
# Times a training step (forward, backward, update) of the patched host against the unpatched one, and
# of each optimizer against sgd.
#   tools/dev/bench-host.sh [CFG]          default: cfg/cifar-resnet20.cfg
# The unpatched host is built by its own Makefile with OPENMP=1 (make stock). Hosts and optimizers take
# turns and the shortest step of each counts, so that other work on the machine falls on all alike.
#   BATCHES="8 32 128"   ROUNDS=3   STEPS=3 (a round)   THREADS=   OPTIMIZERS="sgd adam hrnn"
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "bench-host: $1" >&2
    exit 1
}

build=${BUILD:-build}
cfg=${1:-cfg/cifar-resnet20.cfg}
rounds=${ROUNDS:-3}
steps=${STEPS:-3}
export OMP_NUM_THREADS=${THREADS:-$(nproc)}
[ -f "$cfg" ] || fail "$cfg: no such file"
for file in "$build/dev/time-host-step" "$build/stock/libdarknet.a"; do
    [ -f "$file" ] || fail "$file is missing: run make all stock"
done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
${CC:-cc} -O2 -I"$build/stock/include" tools/dev/time-host-step.c "$build/stock/libdarknet.a" \
    -o "$tmp/stock" -fopenmp -lm -pthread

# make_cfg BATCH [OPTIMIZER]: the cfg with that batch and, unless empty, that optimizer, on stdout
make_cfg() {
    awk -v batch="$1" -v optimizer="${2:-}" '
        /^\[net\]/ { print; print "batch=" batch; print "subdivisions=1"
                     if (optimizer) print "optimizer=" optimizer; next }
        !/^(batch|subdivisions|optimizer)[ \t]*=/' "$cfg"
}

# time_step PROGRAM CFG SHORTEST: the shorter of SHORTEST and the shortest of some steps
time_step() {
    "$1" "$2" "$steps" 2> "$tmp/log" | awk -v shortest="$3" \
        'END { if (NF != 2) exit 1; print ($1 < shortest) ? $1 : shortest }' ||
        { tail -n 3 "$tmp/log" >&2; fail "$1 failed on $cfg"; }
}

echo "Training step of $cfg, $OMP_NUM_THREADS threads, shortest of $((rounds * steps)) steps"
printf '%6s %12s %12s %8s\n' batch 'unpatched s' 'patched s' times
for batch in ${BATCHES:-8 32 128}; do
    make_cfg "$batch" > "$tmp/plain.cfg"
    stock=1e9
    patched=1e9
    for ((i = 0; i < rounds; i++)); do
        stock=$(time_step "$tmp/stock" "$tmp/plain.cfg" "$stock")
        patched=$(time_step "$build/dev/time-host-step" "$tmp/plain.cfg" "$patched")
    done
    awk -v b="$batch" -v s="$stock" -v p="$patched" \
        'BEGIN { printf "%6d %12.4f %12.4f %8.2f\n", b, s, p, s / p }'
done

optimizers=${OPTIMIZERS-sgd adam hrnn}
[ -n "$optimizers" ] || exit 0
echo
echo "The same step, patched, with each optimizer= (seconds, and times that of sgd)"
printf '%6s' batch
for optimizer in $optimizers; do printf ' %18s' "$optimizer"; done
echo
declare -A shortest
for batch in ${BATCHES:-8 32 128}; do
    for optimizer in sgd $optimizers; do
        make_cfg "$batch" "$optimizer" > "$tmp/$optimizer.cfg"
        shortest[$optimizer]=1e9
    done
    for ((i = 0; i < rounds; i++)); do
        for optimizer in $(printf '%s\n' sgd $optimizers | sort -u); do
            shortest[$optimizer]=$(time_step "$build/dev/time-host-step" "$tmp/$optimizer.cfg" \
                "${shortest[$optimizer]}")
        done
    done
    printf '%6d' "$batch"
    for optimizer in $optimizers; do
        awk -v t="${shortest[$optimizer]}" -v s="${shortest[sgd]}" \
            'BEGIN { printf " %10.4f %6.3fx", t, t / s }'
    done
    echo
done
