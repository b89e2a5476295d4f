#!/bin/bash
# A model of hrnn-3 in Darknet: max_batches is its horizon, its own schedule takes the place of policy and burn_in, a
# resume goes on to the bit, and a horizon that is missing or that a resume changes is said.
set -euo pipefail

. tests/trainers.sh
[ -x "$build/metatrain" ] || { echo "$build/metatrain is not built"; exit 77; }
make_images 6 24
echo save_every=10 >>train.data # epochs of 6 images: 15 batches of 4

# Two bold outer steps: every weight of the outlook is something.
"$build/metatrain" -start "$HRNN_WEIGHTS" -format hrnn-3 -corpus paper:bowl -episode 10:20 -outer-steps 2 -rate 0.02 \
    -warm-up 0 -pairs 4 -out model.safetensors >out 2>err || wrong "no model: $(tail -n 1 err)"

# train FOLDER "OPTION=VALUE..." [WEIGHTS]: what it prints is in out.
train() {
    local options
    mkdir -p "$1"
    read -ra options <<<"optimizer=hrnn optimizer_weights=$PWD/model.safetensors optimizer_log=$1/log.csv $2"
    { net "${options[@]}" | sed '/^max_batches=5$/d'; classifier_layers; } >"$1/net.cfg"
    sed "s|^backup=.*|backup=$1|" train.data >"$1/train.data"
    "$darknet" classifier train "$1/train.data" "$1/net.cfg" ${3:+"$3"} >out 2>err || wrong "$1: $(tail -n 1 err)"
}
says() { grep -qF -- "$1" out || wrong "it does not say: $1, but: $(grep Schedule out || true)"; }
same() { cmp -s "$1/net.weights" "$2/net.weights"; }

train whole 'max_batches=20'
says "Schedule: the model's own, to batch 20"
train poly 'max_batches=20 policy=poly power=2 burn_in=5'
says "to batch 20; policy=poly and burn_in=5 would count with optimizer_schedule=cfg"
same whole poly || wrong "policy= and burn_in= count beside the model's schedule"
train cfg 'max_batches=20 policy=poly power=2 burn_in=5 optimizer_schedule=cfg'
! grep -q Schedule out || wrong "with optimizer_schedule=cfg it says: $(grep Schedule out)"
! same whole cfg || wrong "optimizer_schedule=cfg changes nothing"
awk -F, 'NR == 2 { first = $5 } { last = $5 } END { exit !(first > 0 && last == 0) }' whole/log.csv ||
    wrong "the rate does not end at 0: $(tail -n 1 whole/log.csv)"

train resumed 'max_batches=20' whole/net_10.weights
says "Resuming at batch 15"
! grep -q "when this was saved" out || wrong "the horizon has changed: $(grep Schedule out)"
same whole resumed || wrong "a resume ends with other weights"
cmp -s whole/net.weights.optimizer resumed/net.weights.optimizer || wrong "a resume ends with another optimizer"

train longer 'max_batches=30' whole/net_10.weights
says "to batch 30 (30 updates in all; 20 when this was saved)"
[ "$(seen longer/net.weights)" = 120 ] || wrong "a longer training ends after $(seen longer/net.weights) images"
train fresh 'max_batches=30'
! same longer fresh || wrong "the first batches did not follow another schedule"

# On weights of another training, whose images count as seen, what is left is what is to be done.
mv whole/net_10.weights.optimizer gone
train left 'max_batches=20' whole/net_10.weights
says "Starting from whole/net_10.weights with a fresh optimizer"
awk -F, 'NR == 2 { first = $5 } { last = $5 } END { exit !(first > 0 && last == 0) }' left/log.csv ||
    wrong "on pretrained weights the rate does not end at 0: $(tail -n 1 left/log.csv)"

mkdir -p endless
{ net optimizer=hrnn "optimizer_weights=$PWD/model.safetensors" | sed '/^max_batches=/d'; classifier_layers; } >endless/net.cfg
(timeout -s KILL 2 "$darknet" classifier train train.data endless/net.cfg >out 2>err || true) 2>/dev/null
says "Schedule: none, since there is no max_batches"
[ $failures = 0 ] && echo "a horizon that is known, resumed, changed and missing"
exit $((failures > 0))
