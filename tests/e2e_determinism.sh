#!/bin/bash
# Which images make a batch, their augmentation and so the trained weights follow from seed= alone: not from
# the number of threads that load, the number that compute, or the time.
set -euo pipefail

. tests/trainers.sh

# train NAME COMMAND...: runs it with a fresh backup folder, keeps the folder and the losses as NAME.
train() {
    local name=$1
    shift
    rm -rf backup "$name"
    if ! OMP_NUM_THREADS=${omp:-2} "$darknet" "$@" >"$name.out" 2>"$name.err"; then
        wrong "$* failed: $(tail -n 1 "$name.err")"
        mkdir -p backup
    fi
    mv backup "$name"
    # "5, 0.8: 0.69, 0.69 avg, ...": all but the seconds
    sed -n 's/^\([0-9]*[:,].*\), [0-9.]* seconds.*/\1/p' "$name.out" >"$name/losses"
    [ -s "$name/losses" ] || sed -n 's/^\([0-9]*[:,].*\), [0-9.]* seconds.*/\1/p' "$name.err" >"$name/losses"
    [ -s "$name/losses" ] || wrong "$name printed no losses"
}

# same A B, differ A B: all that two runs saved and printed.
same() { diff -r "$1" "$2" >/dev/null || wrong "$1 and $2 differ"; }
differ() {
    local file
    for file in "$1"/*.weights; do
        ! cmp -s "$file" "$2/${file##*/}" || wrong "$file is the same in $2"
    done
}

# command LAYERS...: trains four ways.
check() {
    local name=$1
    shift
    cp train.data one.data
    echo threads=1 >>one.data
    cp train.data three.data
    echo threads=3 >>three.data
    train "$name-default" "$@" train.data net.cfg
    train "$name-again" "$@" train.data net.cfg
    omp=1 train "$name-one" "$@" one.data net.cfg
    train "$name-three" "$@" three.data net.cfg
    sed 's/^seed=7/seed=8/' net.cfg >other.cfg
    mv net.cfg first.cfg
    mv other.cfg net.cfg
    train "$name-seed" "$@" train.data net.cfg
    same "$name-default" "$name-again"
    same "$name-one" "$name-three"
    same "$name-default" "$name-three"
    differ "$name-default" "$name-seed"
}

# The loss of a batch, before its update, shows which data it had.
loss_of() { sed -n "s/^$2[,:][^:]*[:] \\([0-9.]*\\),.*/\\1/p; s/^$2: \\([0-9.]*\\),.*/\\1/p" "$1/losses"; }

# resumes WEIGHTS COMMAND...: what starts from the weights after 3 batches goes on with the data of the 4th.
resumes() {
    local weights=$1 whole resumed
    shift
    train whole "$@" net.cfg "${data[@]}"
    sed 's/^max_batches=.*/max_batches=3/' net.cfg >short.cfg
    mv net.cfg long.cfg
    mv short.cfg net.cfg
    train start "$@" net.cfg "${data[@]}"
    mv long.cfg net.cfg
    train resumed "$@" net.cfg "start/$weights" "${data[@]}"
    whole=$(loss_of whole 4)
    resumed=$(loss_of resumed 4)
    [ -n "$whole" ] && [ "$whole" = "$resumed" ] || wrong "batch 4 of $*: $whole uninterrupted, $resumed resumed"
}

make_images 7 24
{ net; classifier_layers; } >net.cfg
check classifier classifier train
data=()
resumes net.weights classifier train train.data
{ net random=1; classifier_layers | sed '/dropout/d; /probability/d'; } | sed 's/^max_batches=5$/max_batches=2/' >net.cfg
check classifier-multiscale classifier train
{ net channels=1 flip=0; classifier_layers; } | sed '0,/^channels=3$/{/^channels=3$/d}' >net.cfg
check gray classifier train
{ net; detector_layers; } >net.cfg
check detector detector train
resumes net_final.weights detector train train.data
{ net max_batches=2; detector_layers random=1; } | sed '/^max_batches=5$/d' >net.cfg
check multiscale detector train

# regressor: two values an image
while read -r image; do
    label=${image/images/labels}
    echo "0.$((RANDOM % 10)) 0.5" >"${label%.ppm}.txt"
done <train.list
{ net; printf '%s\n' '[convolutional]' filters=4 size=3 stride=2 pad=1 activation=leaky '[connected]' output=2 \
    activation=linear '[cost]' type=sse; } >net.cfg
check regressor regressor train

# cifar: batches of two records each
mkdir batches
for b in 1 2 3 4 5; do
    for r in 1 2; do
        printf "\\x0$((b + r))"
        LC_ALL=C awk -v p=$((b * 7 + r)) 'BEGIN { for (i = 0; i < 3072; ++i) printf "%c", 32 + (i * p) % 90 }'
    done >batches/data_batch_$b.bin
done
printf 'train=batches\nbackup=backup\n' >cifar.data
{ net width=32 height=32; printf '%s\n' '[connected]' output=16 activation=leaky '[dropout]' \
    probability=.2 '[connected]' output=10 activation=linear '[softmax]'; } | sed '/^width=16$/d; /^height=16$/d' >net.cfg
train cifar cifar train net.cfg -data cifar.data
train cifar-again cifar train net.cfg -data cifar.data
sed 's/^seed=7/seed=8/' net.cfg >other.cfg
mv other.cfg net.cfg
train cifar-seed cifar train net.cfg -data cifar.data
same cifar cifar-again
differ cifar cifar-seed
data=(-data cifar.data)
resumes net.weights cifar train

# rnn: where its streams start and when they start anew
for ((i = 0; i < 200; ++i)); do echo "the $((i * i)) of $i"; done >text
printf '%s\n' '[net]' subdivisions=1 inputs=256 batch=2 time_steps=3 momentum=0.9 decay=0.001 max_batches=4 \
    learning_rate=0.1 seed=7 '[rnn]' batch_normalize=1 output=8 activation=leaky '[connected]' output=256 \
    activation=leaky '[softmax]' '[cost]' type=sse >net.cfg
train rnn rnn train net.cfg -file text
train rnn-again rnn train net.cfg -file text
sed 's/^seed=7/seed=8/' net.cfg >other.cfg
mv other.cfg net.cfg
train rnn-seed rnn train net.cfg -file text
same rnn rnn-again
differ rnn rnn-seed

echo "$failures failures"
[ "$failures" = 0 ]
