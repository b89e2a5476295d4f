#!/bin/bash
# The main job, end to end: trains a small pre-activation ResNet on Fashion-MNIST with each optimizer,
# from the same starting weights on the same images in the same order, measures each on the 10,000 test
# images and draws the curves. `make demo` builds first and then calls this.
#   SEEDS=3            starting weights and data orders for each optimizer (default 1)
#   RULES="sgd hrnn"   (default: sgd adam hrnn)
#   BATCHES=200        shorter training (default: the cfg's max_batches)
#   BUILD=build        where the programs are; results go to BUILD/demo, BUILD/demo-BATCHES
# A demo that was stopped goes on where it was.
#
# The learning rates of sgd (momentum 0.9) and adam are the best of this sweep:
#   build/compare cfg/fashion-resnet.cfg build/data/fashion-mnist/images.data -optimizers sgd,adam \
#       -rates sgd=0.03,0.1,0.3 -rates adam=0.003,0.01 -seeds 1
# hrnn has none to choose: its cfg has the line optimizer=hrnn and nothing else that concerns learning.
# All three follow the cfg's schedule.
set -euo pipefail

cd "$(dirname "$0")/.."
build=${BUILD:-build}
out=$build/demo${BATCHES:+-$BATCHES}
data=$build/data/fashion-mnist
read -ra rules <<<"${RULES:-sgd adam hrnn}"

fail() {
    echo "demo: $1" >&2
    exit 1
}

[ -x "$build/compare" ] || fail "$build/compare is missing: run make first"
list=$(IFS=,; echo "${rules[*]}")
options=(-out "$out" -resume -optimizers "$list" -seeds "${SEEDS:-1}" -valid-images 10000 -jobs 1
    -batch-sizes none)
for rule in "${rules[@]}"; do
    case $rule in
        sgd) options+=(-rates sgd=0.1) ;;
        adam) options+=(-rates adam=0.01) ;;
        rmsprop) options+=(-rates rmsprop=0.001) ;; # not tuned
    esac
done
[ -z "${BATCHES:-}" ] || options+=(-batches "$BATCHES")
BUILD=$build tools/get-data.sh fashion-mnist "$data"
echo "training cfg/fashion-resnet.cfg on Fashion-MNIST with ${rules[*]}, one after the other"
"$build/compare" cfg/fashion-resnet.cfg "$data/images.data" "${options[@]}"
echo "the curves: $out/curves.png"
