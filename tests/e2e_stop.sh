#!/bin/bash
# When training saves, what its lines say, and that SIGINT and SIGTERM stop it after a batch, saved.
set -euo pipefail

. tests/trainers.sh

make_images 6 24

# --- what is saved when: 4 images a batch, 6 an epoch ---
echo save_every=2 >>train.data
{ net; classifier_layers; } >net.cfg
"$darknet" classifier train train.data net.cfg >out 2>err || wrong "training failed: $(tail -n 1 err)"
saved=$(grep -o 'backup/net[^ ]*' err | tr '\n' ' ')
want='backup/net_1.weights backup/net.backup backup/net_2.weights backup/net.backup backup/net_3.weights '
want+='backup/net.weights '
[ "$saved" = "$want" ] || wrong "saved $saved"
[ "$(seen backup/net.backup)" = 16 ] || wrong "net.backup has seen $(seen backup/net.backup) images"
[ "$(seen backup/net.weights)" = 20 ] || wrong "net.weights has seen $(seen backup/net.weights) images"
line='^4, 2\.667: [0-9.]+, [0-9.]+ avg, 0\.010000 rate, [0-9.]+ seconds, 16 images, 0:00:0[0-9] left$'
grep -qE "$line" out || wrong "no such line: $line: $(grep '^4,' out)"
grep -qE '^5, .* 20 images$' out || wrong "the last line: $(grep '^5,' out)"

# --- nothing left to do ---
"$darknet" classifier train train.data net.cfg backup/net.weights >out 2>err || wrong "not accepted: $(tail -n 1 err)"
grep -q '^Nothing to train: batch 5 of max_batches=5 is done$' out || wrong "silent when nothing is left to do"
"$darknet" classifier train train.data net.cfg backup/net.weights -clear >out 2>err || wrong "-clear failed"
grep -q '^1, ' out || wrong "-clear did not start at batch 1"

# --- weights that stopped within a batch ---
cp backup/net.weights within.weights
printf '\015\0\0\0\0\0\0\0' | dd of=within.weights bs=1 seek=12 conv=notrunc status=none # 13 images
rm -rf backup/*
"$darknet" classifier train train.data net.cfg within.weights >out 2>err || wrong "failed: $(tail -n 1 err)"
[ "$(sed -n 's/^\([0-9]*\), .* \([0-9]*\) images.*/\1 \2/p' out | head -n 1)" = '4 16' ] ||
    wrong "after 13 images comes $(grep -m 1 avg out)"

# --- a network that is lost ---
{ net optimizer=sgd; classifier_layers; } | sed 's/^learning_rate=.*/learning_rate=1e30/; s/^max_batches=.*/max_batches=200/' >lost.cfg
status=0
"$darknet" classifier train train.data lost.cfg >out 2>err || status=$?
[ "$status" = 3 ] || wrong "exit status $status instead of 3 from a training that diverged"
tail -n 1 err | grep -qE '^darknet: batch 1[0-9][0-9]: the gradients of 100 updates in a row .* has diverged' ||
    wrong "does not say that it diverged: $(tail -n 1 err)"

# --- signals ---
sed 's/^max_batches=.*/max_batches=1000000/' net.cfg >long.cfg
sed -i '/^save_every=/d' train.data
stopped() {  # SIGNAL STATUS COMMAND...
    local signal=$1 expected=$2 status=0 process i
    shift 2
    rm -rf backup
    : >out
    : >err
    "$darknet" "$@" >out 2>err &
    process=$!
    for ((i = 0; i < 600; ++i)); do
        if grep -q '^2[:,]' out err; then break; fi
        sleep .1
    done
    kill -"$signal" "$process"
    wait "$process" || status=$?
    [ "$status" = "$expected" ] || wrong "exit status $status instead of $expected after $signal: $*"
    local batch
    batch=$(sed -n 's/^Stopped after batch \([0-9]*\); .* backup\/long\.backup$/\1/p' out)
    [ -n "$batch" ] || wrong "does not say where to resume: $*: $(tail -n 1 out)"
    grep -q "^${batch}[:,]" out err || wrong "stopped after batch $batch, which was not printed"
    [ "$(seen backup/long.backup)" = $((batch * ${images:-4})) ] ||
        wrong "batch $batch, but $(seen backup/long.backup) images"
}
set -m # without job control, what runs in the background ignores SIGINT
stopped TERM 143 classifier train train.data long.cfg
stopped INT 130 classifier train train.data long.cfg
mv long.cfg classifier.cfg
{ net; detector_layers; } | sed 's/^max_batches=.*/max_batches=1000000/' >long.cfg
stopped INT 130 detector train train.data long.cfg
for ((i = 0; i < 200; ++i)); do echo "the $((i * i)) of $i"; done >text
printf '%s\n' '[net]' subdivisions=1 inputs=256 batch=2 time_steps=3 max_batches=1000000 learning_rate=0.1 seed=7 \
    '[rnn]' batch_normalize=1 output=8 activation=leaky '[connected]' output=256 activation=leaky \
    '[softmax]' '[cost]' type=sse >long.cfg
images=6 stopped INT 130 rnn train long.cfg -file text

echo "$failures failures"
[ "$failures" = 0 ]
