#!/bin/bash
# The figures of the paper's evaluation, each a table and a picture in BUILD/figures.
#   tools/figures.sh [FIGURE...]     default: all but stability
#     robustness   loss at the end against the learning rate, hrnn's starting rate from 1e-6 to 1e-2, on the
#                  MNIST ConvNet
#     batch-size   time of a step against the batch size, relative to sgd, on the MNIST ConvNet and ResNet-20
#     memory       bytes of state a parameter
#     stability    ResNet V2-50 at 224x224 and Inception V3 at 299x299, their first STEPS batches
#     ablations    the models of weights/ablations, each meta-trained without one part
#   BATCHES=1000 SEEDS=3      of robustness and ablations
#   SIZES=1,2,4,...,512       of batch-size
#   STEPS=30 IMAGES=my.data   of stability: a data cfg of `classifier train`; default: CIFAR-10 made larger
#   JOBS=cores BUILD=build
set -euo pipefail
[ -z "${IMAGES:-}" ] || IMAGES=$(realpath "$IMAGES")
cd "$(dirname "$0")/.."

build=${BUILD:-build}
out=$build/figures
steps=${STEPS:-30}

fail() {
    echo "figures: $1" >&2
    exit 1
}

# records WHAT: its data cfg, fetched when it is not there.
records() {
    BUILD=$build tools/get-data.sh "$1" "$build/data/$1-records" records >&2
    echo "$build/data/$1-records/$1.data"
}

# take REPORT FIGURE PICTURE: the figure's table and picture out of a report.
take() {
    cp "$1/summary.txt" "$out/$2.txt"
    cp "$1/$3.png" "$out/$2.png"
    echo "$out/$2.png $out/$2.txt"
}

compare() { "$build/compare" "$@" -resume ${JOBS:+-jobs "$JOBS"} >/dev/null; }

robustness() {
    local data report=$out/robustness kept=cfg/baselines/mnist-conv-relu-${BATCHES:-1000}
    local others=(-optimizers hrnn,sgd,adam,rmsprop)
    [ ! -r "$kept/runs.csv" ] || others=(-optimizers hrnn -baseline "$kept")
    data=$(records mnist)
    compare cfg/mnist-conv-relu.cfg "$data" -out "$report" "${others[@]}" -batches "${BATCHES:-1000}" \
        -seeds "${SEEDS:-3}" -batch-sizes none \
        -rates hrnn=1e-6,3.16e-6,1e-5,3.16e-5,1e-4,3.16e-4,1e-3,3.16e-3,1e-2
    take "$report" robustness rates
}

batch_size() {
    local net data
    for net in mnist-conv-relu cifar-resnet20; do
        data=$(records "$([ $net = cifar-resnet20 ] && echo cifar-10 || echo mnist)")
        compare cfg/$net.cfg "$data" -out "$out/batch-size-$net" -seeds 0 \
            -batch-sizes "${SIZES:-1,2,4,8,16,32,64,128,256,512}"
        take "$out/batch-size-$net" "batch-size-$net" times
    done
}

# From one batch of each optimizer: what its state takes does not depend on the training.
memory() {
    local report=$out/memory data
    data=$(records mnist)
    compare cfg/mnist-conv-relu.cfg "$data" -out "$report" -batches 2 -seeds 1 -batch-sizes none -rates 1e-3
    awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) c[$i] = i; next }
        { printf "%s %.4g\n", $c["optimizer"], $c["state_bytes_per_parameter"] }' "$report/summary.csv" |
        sort -k 2,2g -k 1,1 >"$out/memory.txt"
    gnuplot <<EOF || fail "gnuplot failed"
set terminal pngcairo size 900,600 font "DejaVu Sans,15" noenhanced
set output "$out/memory.png"
set title "State of the optimizers, MNIST ConvNet (parameters and gradients: 4 bytes each)"
set ylabel "bytes a parameter"
set style fill solid
set boxwidth 0.6
set yrange [0:*]
set offsets 0.3,0.3,graph 0.1,0
set border 3
set grid ytics lt 1 lc rgb "#E4E4E4"
set tics nomirror out
plot "$out/memory.txt" using 0:2:xtic(1) with boxes lc rgb "#0072B2" notitle, \
    '' using 0:2:2 with labels offset 0,0.7 notitle
EOF
    echo "$out/memory.png $out/memory.txt"
}

stability() {
    local net data=${IMAGES:-$build/data/cifar-10-images/images.data}
    [ -n "${IMAGES:-}" ] || BUILD=$build tools/get-data.sh cifar-10 "$build/data/cifar-10-images" png
    for net in imagenet-resnet50-v2 imagenet-inception-v3; do
        compare "cfg/$net.cfg" "$data" -out "$out/stability-$net" -optimizers hrnn,adam,sgd -seeds 1 \
            -rates adam=1e-3 -rates sgd=1e-2 -batches "$steps" -every "$steps" -valid-images 64 -batch-sizes none
        take "$out/stability-$net" "stability-$net" curves
    done
}

ablations() {
    local models=() model list=hrnn data report=$out/ablations
    shopt -s nullglob
    models=(weights/ablations/*.safetensors)
    [ ${#models[@]} -gt 0 ] || {
        echo "ablations: weights/ablations holds no models, nothing to compare" >&2
        return
    }
    data=$(records mnist)
    for model in "${models[@]}"; do list+=,$(basename "$model" .safetensors)=$model; done
    compare cfg/mnist-conv-relu.cfg "$data" -out "$report" -optimizers "$list" -batches "${BATCHES:-1000}" \
        -seeds "${SEEDS:-3}" -batch-sizes none
    take "$report" ablations curves
}

[ -x "$build/compare" ] || fail "$build/compare is missing: run make first"
[ $# -gt 0 ] || set -- robustness batch-size memory ablations
for figure in "$@"; do
    case $figure in
        robustness | batch-size | memory | stability | ablations) ;;
        *) fail "no figure $figure; there are robustness, batch-size, memory, stability and ablations" ;;
    esac
done
mkdir -p "$out"
for figure in "$@"; do "${figure/-/_}"; done
