#!/bin/bash
# Darknet as it comes, with the patches of darknet-patches/hook and no others: optimizer=hrnn trains, saves and resumes.
# A training that is resumed from a save ends with the bits of the one that was never interrupted.
set -euo pipefail

. tests/trainers.sh
if ! [ -d "$build/upstream/src" ]; then
    echo "$build/upstream, the host without patches, is not there"
    exit 77
fi

# As fast as it compiles: without optimisation, OpenCV, and OpenMP (gemm.c's loops share their indices between threads).
# What make test was given is not for this build, which must not touch the folder of the patched host.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES
make -C "$root" --no-print-directory "$work/hook/darknet" BUILD="$work/hook" HOST_DIR="$work/hook/host" \
    DARKNET="$build/upstream" PATCHES=darknet-patches/hook GPU=0 OPENCV=0 OPENMP=0 ASAN=0 CFLAGS=-O0 >out 2>&1 ||
    { tail -n 20 out; echo 'the host with the hook alone does not build'; exit 1; }
darknet=$work/hook/darknet
[ ! -e "$work/hook/host/src/training.c" ] || wrong 'other patches than those of the hook are applied'

# What it takes of the host is as the document says.
count() { cat "$root"/darknet-patches/hook/*.patch | grep "^$1" | grep -vc "^$1$1$1"; }
grep -q "with $(count +) lines that it adds and $(count -) that it takes out" "$root/darknet-patches/README.md" ||
    wrong "the hook adds $(count +) lines and takes out $(count -), darknet-patches/README.md has other numbers"

make_images 6 24
# Without other patches it looks for the labels of no *.ppm; stb_image goes by what is in a file.
for image in images/*.ppm; do mv "$image" "${image%.ppm}.jpg"; done
sed -i 's/ppm$/jpg/' train.list

# train COMMAND FOLDER BATCHES LAYERS [WEIGHTS]: saves in FOLDER, keeps what is printed there.
train() {
    mkdir -p "$2"
    { net optimizer=hrnn "optimizer_log=$2/log.csv" | sed "s/^max_batches=.*/max_batches=$3/"; "$4"; } >"$2/net.cfg"
    sed "s|^backup=.*|backup=$2|" train.data >"$2/train.data"
    "$darknet" "$1" train "$2/train.data" "$2/net.cfg" ${5:+"$5"} >"$2/out" 2>"$2/err" ||
        wrong "$1 train: $(tail -n 1 "$2/err")"
}

# The rows of a log from batch 4 on, without their times.
rows() { cut -d, -f1-5 "$1" | awk -F, 'NR > 1 && $1 > 3'; }

# check COMMAND LAYERS WEIGHTS: after 3 of 8 batches.
check() {
    local file
    train "$1" "whole-$1" 8 "$2"
    train "$1" "begun-$1" 3 "$2"
    train "$1" "resumed-$1" 8 "$2" "begun-$1/$3"
    grep -q '^Resuming at batch 3 .* optimizer hrnn' "resumed-$1/out" || wrong "$1: not resumed"
    for file in "$3" "$3.optimizer"; do
        [ -s "whole-$1/$file" ] && cmp -s "whole-$1/$file" "resumed-$1/$file" || wrong "$1: $file is another after a resume"
    done
    [ "$(rows "whole-$1/log.csv" | wc -l)" = 5 ] && cmp -s <(rows "whole-$1/log.csv") <(rows "resumed-$1/log.csv") ||
        wrong "$1: another log after a resume"
    # It is the state of the optimizer that makes it so.
    rm "begun-$1/$3.optimizer"
    train "$1" "fresh-$1" 8 "$2" "begun-$1/$3"
    ! cmp -s "whole-$1/$3" "fresh-$1/$3" || wrong "$1: the same weights without the optimizer's state"
}

check classifier classifier_layers net.weights
check detector detector_layers net_final.weights

[ "$failures" = 0 ] && echo 'the hook alone trains, saves and resumes'
[ "$failures" = 0 ]
