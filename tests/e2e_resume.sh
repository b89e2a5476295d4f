#!/bin/bash
# Training that is killed with SIGKILL at random moments, during saves too, and resumed from its last
# save ends with the bits of the training that was never stopped: weights, optimizer and log.
#   KILLS=4     kills, spread over the rules; tests/run.sh has the number of the long version
# Then: sidecars and weights that are truncated, corrupt or of something else are refused.
set -euo pipefail

. tests/trainers.sh
kills=${KILLS:-4}
RANDOM=${SEED:-$$}
echo "SEED=$RANDOM"

# Everything that has a state of its own: dropout, augmentation, batch statistics, a [batchnorm].
layers() {
    printf '%s\n' '[convolutional]' filters=8 size=3 stride=2 pad=1 activation=linear '[batchnorm]' \
        '[activation]' activation=relu '[dropout]' probability=.3 '[convolutional]' filters=16 size=3 pad=1 \
        activation=leaky batch_normalize=1 '[convolutional]' filters=2 size=1 activation=linear '[avgpool]' \
        '[softmax]'
}

make_images 6 24
echo save_every=1 >>train.data

# train RULE FOLDER [WEIGHTS]: in the foreground of its caller. compact: hrnn with
# a compact state and a model that has attention.
train() {
    local options=("optimizer=$1")
    [ "$1" != compact ] || options=(optimizer=hrnn optimizer_state=compact
        optimizer_weights="$root/weights/hrnn-2017.safetensors")
    mkdir -p "$2"
    { net "${options[@]}" "optimizer_log=$2/log.csv" | sed 's/^max_batches=.*/max_batches=80/'; layers; } \
        >"$2/net.cfg"
    sed "s|^backup=.*|backup=$2|" train.data >"$2/train.data"
    exec "$darknet" classifier train "$2/train.data" "$2/net.cfg" ${3:+"$3"}
}

# The rows of a log without their times.
rows() { cut -d, -f1-5 "$1"; }

killed=0
for rule in hrnn compact adam sgd rmsprop; do
    start=${EPOCHREALTIME/./}
    (train "$rule" "whole-$rule") >out 2>err || { wrong "$rule: $(tail -n 1 err)"; continue; }
    whole=$((${EPOCHREALTIME/./} - start)) # microseconds
    for ((kill = 0; kill < (kills + 4) / 5; kill++)); do
        folder=killed-$rule
        rm -rf "$folder"
        best=0
        # Kills until the training is done; each at a moment of its own.
        for ((try = 0; try < 6; try++)); do
            last=$folder/net.backup
            [ -e "$last" ] || last=
            (train "$rule" "$folder" "$last") >out 2>err &
            child=$!
            sleep "$(awk -v whole="$whole" -v r=$RANDOM 'BEGIN { print whole * r / 32768 / 1e6 }')"
            kill -KILL "$child" 2>/dev/null && killed=$((killed + 1))
            wait "$child" 2>/dev/null && status=0 || status=$?
            if [ "$status" != 137 ]; then
                [ "$status" = 0 ] || wrong "$rule: a resume ended with $status: $(tail -n 1 err)"
                break
            fi
            now=$([ -e "$folder/net.backup" ] && seen "$folder/net.backup" || echo 0)
            [ "$now" -ge "$best" ] || wrong "$rule: $now images after a kill, $best before"
            best=$now
        done
        if [ "$status" = 137 ]; then
            last=$folder/net.backup
            [ -e "$last" ] || last=
            (train "$rule" "$folder" "$last") >out 2>err || wrong "$rule: $(tail -n 1 err)"
        fi
        cmp -s "whole-$rule/net.weights" "$folder/net.weights" || wrong "$rule: other weights after kills"
        cmp -s "whole-$rule/net.weights.optimizer" "$folder/net.weights.optimizer" ||
            wrong "$rule: other optimizer after kills"
        cmp -s <(rows "whole-$rule/log.csv") <(rows "$folder/log.csv") || wrong "$rule: another log after kills"
    done
done
echo "$killed kills"
[ "$killed" -ge "$kills" ] || wrong "only $killed kills"

# --- files that do not belong or are not whole ---
refused() {  # WHAT MESSAGE RULE FOLDER [OPTION]: one line that says MESSAGE, and status 1
    rm -rf trial
    (train "$3" trial "$4/net.backup") >out 2>err && { wrong "$1 is accepted"; return; }
    [ "$(grep -c '^darknet: ' err)" = 1 ] && grep -q "^darknet: .*$2" err || wrong "$1: $(tail -n 1 err)"
}
fresh() {
    rm -rf copy
    mkdir copy
    cp "whole-${1:-hrnn}/net.weights" copy/net.backup
    cp "whole-${1:-hrnn}/net.weights.optimizer" copy/net.backup.optimizer
}
fresh
refused 'the sidecar of another rule' 'net.backup.optimizer.*-clear' adam copy
fresh
cp whole-hrnn/net_1.weights.optimizer copy/net.backup.optimizer
refused 'the sidecar of other weights' 'net.backup.optimizer does not belong to copy/net.backup' hrnn copy
size=$(stat -c %s whole-hrnn/net.weights.optimizer)
for bytes in 0 7 100 $((size / 2)) $((size - 1)); do
    fresh
    truncate -s "$bytes" copy/net.backup.optimizer
    refused "a sidecar cut to $bytes bytes" 'net.backup.optimizer' hrnn copy
done
for ((i = 0; i < 10; i++)); do
    fresh
    at=$(((RANDOM * 32768 + RANDOM) % size))
    byte=$(od -An -t u1 -j $at -N 1 copy/net.backup.optimizer)
    printf "\\x$(printf %02x $((byte ^ 1 << RANDOM % 8)))" |
        dd of=copy/net.backup.optimizer bs=1 seek=$at conv=notrunc status=none
    refused "a sidecar with a flipped bit at $at" 'net.backup.optimizer' hrnn copy
done
size=$(stat -c %s whole-hrnn/net.weights)
for bytes in 0 11 19 21 $((size - 1)) $((size / 2)); do
    fresh
    truncate -s "$bytes" copy/net.backup
    refused "weights cut to $bytes bytes" 'copy/net.backup' hrnn copy
done
fresh
printf '\0\0\300\177' | dd of=copy/net.backup bs=1 seek=24 conv=notrunc status=none
refused 'weights with a NaN' 'copy/net.backup.*nan.*finite' hrnn copy
fresh
rm copy/net.backup.optimizer
printf 'more' >>copy/net.backup
refused 'weights with more than the network' 'copy/net.backup: holds 4 bytes more' hrnn copy

# --- a full disk: one line, and what was saved before stays ---
rm -rf full
mkdir full
cp whole-sgd/net_1.weights full/net.backup
cp full/net.backup before
(trap '' XFSZ; ulimit -f 1; train sgd full) >out 2>err && wrong 'a save beyond the limit is not noticed'
grep -q '^darknet: .*full/net.*untouched' err || wrong "a full disk: $(tail -n 1 err)"
cmp -s full/net.backup before || wrong 'a full disk cost the file that was there'
[ -z "$(find full -name '*.new')" ] || wrong 'a full disk left half a file'

[ "$failures" = 0 ] && echo 'resuming is exact, and what does not belong is refused'
[ "$failures" = 0 ]
