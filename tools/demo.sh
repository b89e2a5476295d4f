#!/bin/bash
# The main job, end to end: trains a small pre-activation ResNet on Fashion-MNIST with each
# optimizer, from the same starting weights on the same images in the same order, measures each on
# the 10,000 test images and draws the losses. `make demo` builds first and then calls this.
#   SEEDS=3            starting weights and data orders for each optimizer (default 1)
#   RULES="sgd hrnn"   (default: sgd adam hrnn)
#   BATCHES=200        shorter training (default: the cfg's max_batches)
#   BUILD=build        where darknet is; results go to BUILD/demo
# A demo that was stopped goes on where it was: finished runs are kept, and darknet, when it is
# stopped, saves what it needs to continue to the bit.
#
# The learning rates of sgd (momentum 0.9) and adam are those of the lowest final loss, seed 1, among
# 0.03, 0.1, 0.3 and among 0.003, 0.01. hrnn has none to choose: its cfg has the line optimizer=hrnn
# and nothing else that concerns learning. All three follow the cfg's schedule.
set -euo pipefail

cd "$(dirname "$0")/.."
build=${BUILD:-build}
out=$build/demo
data=$build/data/fashion-mnist
cfg=cfg/fashion-resnet.cfg
darknet=$build/darknet
read -ra rules <<<"${RULES:-sgd adam hrnn}"
seeds=${SEEDS:-1}
child=

fail() {
    echo "demo: $1" >&2
    exit 1
}

stop() {
    trap '' INT TERM
    [ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null || true
    printf '\ndemo: stopped; what is done is in %s, start again to go on\n' "$out" >&2
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM HUP

# The learning_rate that a cfg for this rule says; nothing: the cfg stays as it is.
rate_of() {
    case $1 in
        sgd) echo 0.1 ;;
        adam) echo 0.01 ;;
        rmsprop) echo 0.001 ;; # not tuned
    esac
}

# cfg_value KEY FILE
cfg_value() { sed -n "s/^ *$1 *= *//p;T;q" "$2"; }

# The cfg of a run: $cfg with the optimizer's line, a seed and a log.
make_cfg() {
    awk -v rule="$1" -v seed="$2" -v log_file="$3/loss.csv" -v rate="$(rate_of "$1")" \
        -v batches="${BATCHES:-}" '
        rate && /^learning_rate *=/ { $0 = "learning_rate=" rate }
        batches && /^max_batches *=/ { $0 = "max_batches=" batches }
        { print }
        /^\[net\]/ { print "optimizer=" rule; print "seed=" seed; print "optimizer_log=" log_file }
    ' "$cfg"
}

# What a result depends on.
fingerprint() {
    make_cfg "$1" "$2" - | cat - "$darknet" weights/hrnn.safetensors | sha256sum | cut -d ' ' -f 1
}

# same_run RULE SEED started|finished: whether that was this cfg, program and model.
same_run() { [ "$(cat "$out/$1-$2/$3" 2>/dev/null)" = "$(fingerprint "$1" "$2")" ]; }

minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# show NAME FILE TOTAL START LATER FIRST: a line about the run that writes FILE, begun at batch FIRST
# and second START; LATER batches follow in other runs.
show() {
    local batch loss left elapsed=$((SECONDS - $4))
    IFS=, read -r batch _ _ loss _ < <(tail -n 1 "$2" 2>/dev/null) || true
    case ${batch:-x} in *[!0-9]*) return 0 ;; esac
    [ "$batch" -gt "$6" ] || return 0 # a run that goes on has not come further yet
    left=$((elapsed * ($3 - batch + $5) / (batch - $6)))
    printf '%s%-14s batch %5d of %d   loss %.3f   %s left in all%s' "$line_start" "$1" \
        "$batch" "$3" "$loss" "$(minutes $left)" "$line_end"
}
# A terminal's line is written over; elsewhere a line is printed now and then.
if [ -t 1 ]; then
    line_start=$'\r' line_end=$'\033[K' every=1
else
    line_start='' line_end=$'\n' every=15
fi

# Training time in whole seconds, of all parts of a run that was stopped.
seconds_of() { awk -F, '{ s += $6 } END { printf "%d", s + 0.5 }' "$1/loss.csv"; }

# train RULE SEED LATER: leaves the folder of the run, with the file `finished` once it is whole.
train() {
    local dir=$out/$1-$2 name="$1" start=$SECONDS first=0 total tick=0 status=0
    local from=()
    [ "$seeds" = 1 ] || name="$1, seed $2"
    if [ -e "$dir/run.backup" ] && same_run "$1" "$2" started; then
        from=("$dir/run.backup")
        first=$(tail -n 1 "$dir/loss.csv" | cut -d , -f 1)
    else
        rm -rf "$dir"
        mkdir -p "$dir"
        make_cfg "$1" "$2" "$dir" >"$dir/run.cfg"
        sed "s#^backup=.*#backup=$dir#" "$data/images.data" >"$dir/run.data"
        fingerprint "$1" "$2" >"$dir/started"
    fi
    total=$(cfg_value max_batches "$dir/run.cfg")
    "$darknet" classifier train "$dir/run.data" "$dir/run.cfg" "${from[@]}" \
        >"$dir/train.log" 2>&1 &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        [ $((tick++ % every)) != 0 ] || show "$name" "$dir/loss.csv" "$total" "$start" "$3" "$first"
        sleep 1 || true
    done
    wait "$child" || status=$?
    child=
    [ $status = 0 ] || fail "$1: training ended with status $status: $(tail -n 1 "$dir/train.log")"
    # one image at a time: too little work to share among threads
    OMP_NUM_THREADS=1 "$darknet" classifier valid "$dir/run.data" "$dir/run.cfg" \
        "$dir/run.weights" >"$dir/valid.log" 2>&1 &
    child=$!
    wait "$child" || fail "$1: the test ended with status $?: $(tail -n 1 "$dir/valid.log")"
    child=
    sed -n 's/^Accuracy on 10000 images: top 1: \([0-9.]*\),.*/\1/p' "$dir/valid.log" \
        >"$dir/accuracy"
    [ -s "$dir/accuracy" ] || fail "$dir/valid.log: has no accuracy of the 10,000 test images"
    rm -f "$dir"/run_*.weights* "$dir"/run.backup* "$dir/valid.log"
    fingerprint "$1" "$2" >"$dir/finished"
    printf '%s%-14s trained in %s, %.2f %% of the test images right%s\n' "${line_end:+$line_start}" \
        "$name" "$(minutes "$(seconds_of "$dir")")" \
        "$(awk '{ print 100 * $1 }' "$dir/accuracy")" "${line_end/$'\n'/}"
}

# Mean loss of the last 100 batches.
final_loss() { tail -n 100 "$1/loss.csv" | awk -F, '{ s += $3 } END { printf "%.3f", s / NR }'; }

table() {
    local rule seed rate
    printf '%-9s %4s  %-13s  %-23s  %-13s  %s\n' optimizer seed 'learning rate' \
        'loss, last 100 batches' 'test accuracy' 'training'
    for rule in "${rules[@]}"; do
        rate=$(rate_of "$rule")
        for seed in $(seq "$seeds"); do
            printf '%-9s %4d  %-13s  %-23s  %-13s  %s\n' "$rule" "$seed" "${rate:-its own}" \
                "$(final_loss "$out/$rule-$seed")" \
                "$(awk '{ printf "%.2f %%", 100 * $1 }' "$out/$rule-$seed/accuracy")" \
                "$(seconds_of "$out/$rule-$seed") s"
        done
    done
}

case $seeds in '' | *[!0-9]* | 0*) fail "SEEDS=$seeds: expected a number from 1" ;; esac
case ${BATCHES:-1} in *[!0-9]* | 0*) fail "BATCHES=$BATCHES: expected a number from 1" ;; esac
[ -x "$darknet" ] || fail "$darknet is missing: run make first"
BUILD=$build tools/get-data.sh fashion-mnist "$data"
mkdir -p "$out"

total=${BATCHES:-$(cfg_value max_batches "$cfg")}
todo=0
for seed in $(seq "$seeds"); do
    for rule in "${rules[@]}"; do same_run "$rule" "$seed" finished || todo=$((todo + 1)); done
done
echo "training $cfg on Fashion-MNIST: ${rules[*]}, $total batches each"
for seed in $(seq "$seeds"); do
    for rule in "${rules[@]}"; do
        if same_run "$rule" "$seed" finished; then
            echo "$rule, seed $seed: kept from an earlier run"
        else
            todo=$((todo - 1))
            train "$rule" "$seed" $((todo * total))
        fi
    done
done

curves=()
for rule in "${rules[@]}"; do
    for seed in $(seq "$seeds"); do curves+=("$rule=$out/$rule-$seed/loss.csv"); done
done
tools/plot-curves.sh -o "$out/curves.png" \
    -t "Fashion-MNIST: a small pre-activation ResNet, batch $(cfg_value batch "$cfg")" "${curves[@]}"
echo
table | tee "$out/results.txt"
echo
echo "the curves: $out/curves.png"
