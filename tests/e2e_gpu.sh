#!/bin/bash
# The same trainings on a CPU and on a GPU through darknet: twenty batches of each optimizer from one seed, losses and
# weights within the bounds below, and checkpoints that go GPU, CPU, GPU. Skipped without a GPU.
set -euo pipefail

. tests/trainers.sh
# Of each loss, and of how far the weights lie apart to how far they have moved. Sums are added
# up in another order, and cuDNN normalises with the variance over n instead of n - 1.
loss_bound=0.05 weights_bound=0.1
export NVIDIA_TF32_OVERRIDE=0 # products with all bits of a float

{ net | sed 's/^max_batches=.*/max_batches=1/'; classifier_layers; } >probe.cfg
make_images 8 24
if [[ $(ldd "$darknet") != *libcudart* ]]; then
    echo 'darknet is built without GPU=1'
    exit 77
fi
"$darknet" -i 0 classifier train train.data probe.cfg >out 2>err || {
    echo "no GPU: $(tail -n 1 err)"
    exit 77
}

layers() {
    printf '%s\n' '[convolutional]' filters=8 size=3 stride=2 pad=1 activation=linear '[batchnorm]' \
        '[activation]' activation=relu '[convolutional]' filters=8 size=3 pad=1 activation=leaky batch_normalize=1 \
        '[shortcut]' from=-2 activation=linear '[dropout]' probability=.3 '[convolutional]' filters=2 size=1 \
        activation=linear '[avgpool]' '[softmax]'
}

# train DEVICE RULE FOLDER BATCHES [WEIGHTS]; DEVICE is -nogpu or -i 0
train() {
    mkdir -p "$3"
    { net "optimizer=$2" "optimizer_log=$3/log.csv" | sed "s/^max_batches=.*/max_batches=$4/; s/^batch=.*/batch=16/"
      layers; } >"$3/net.cfg"
    sed "s|^backup=.*|backup=$3|" train.data >"$3/train.data"
    # shellcheck disable=SC2086
    "$darknet" $1 classifier train "$3/train.data" "$3/net.cfg" ${5:+"$5"} >out 2>err ||
        { wrong "$2 $1: $(tail -n 1 err)"; return 1; }
}

floats() { od -An -v -t f4 -w4 -j 20 "$1"; }

# compare WHAT A B START: logs and weights of the folders A and B; START are the weights after one batch.
compare() {
    paste -d ' ' <(cut -d, -f3 "$2/log.csv" | tail -n +2) <(cut -d, -f3 "$3/log.csv" | tail -n +2) |
        awk -v bound=$loss_bound -v what="$1" '
            { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > worst) worst = d; if (!(d <= bound)) bad = 1 }
            END { printf "%s: losses of %d batches up to %.2g apart", what, NR, worst; exit bad || NR < 4 }' ||
        wrong "$1: losses differ by more than $loss_bound"
    paste -d ' ' <(floats "$2/net.weights") <(floats "$3/net.weights") <(floats "$4") |
        awk -v bound=$weights_bound '
            { d += ($1 - $2) ^ 2; m += ($1 - $3) ^ 2 }
            END { printf ", weights %.2g of what they moved\n", sqrt(d / m); exit !(d <= bound ^ 2 * m) }' ||
        wrong "$1: weights differ by more than $weights_bound of what they moved"
}

train -nogpu sgd begin 1 || exit 1
for rule in sgd adam rmsprop hrnn; do
    train -nogpu $rule cpu-$rule 20 || continue
    train '-i 0' $rule gpu-$rule 20 || continue
    compare "$rule, CPU and GPU" cpu-$rule gpu-$rule begin/net.weights
    # Ten batches on the GPU, five on the CPU, five on the GPU.
    train '-i 0' $rule back-$rule 10 || continue
    train -nogpu $rule back-$rule 15 back-$rule/net.weights || continue
    grep -q '^Resuming at batch 10' out || wrong "$rule: no resume on the CPU"
    train '-i 0' $rule back-$rule 20 back-$rule/net.weights || continue
    grep -q '^Resuming at batch 15' out || wrong "$rule: no resume on the GPU"
    compare "$rule, GPU and GPU-CPU-GPU" gpu-$rule back-$rule begin/net.weights
done

[ "$failures" = 0 ] && echo 'a GPU trains as a CPU does'
[ "$failures" = 0 ]
