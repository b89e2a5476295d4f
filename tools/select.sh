#!/bin/bash
# Scores models of hrnn on the selection set: trainings that are neither meta-trained on nor judged, by which
# checkpoints and variants are chosen.
#   tools/select.sh MODEL.safetensors...   trains with each, prints the ratio of its loss to the reference's for each task,
#                                          and their geometric mean, the score: lower is better
#   tools/select.sh reference              measures Adam, at the best of four rates that fall linearly to 0, and keeps
#                                          its losses in cfg/selection.csv
#   TASKS="mlp plain..."   only these   SEEDS=2   JOBS=2    trainings at a time, with the cores divided among them
#   BUILD=build            results go to BUILD/selection/NAME; what is there is not trained again
# A loss is the mean training loss of the last tenth of the batches. The tasks:
#   mlp           six layers of 96 units on Fashion-MNIST, 500 batches of 64
#   plain         seven convolutions with max-pooling and ReLU, without normalisation, 500 batches of 64
#   normalised    eight batch-normalised convolutions, 500 batches of 64
#   residual      a narrow pre-activation ResNet, 500 batches of 64; residual-long: 3,000
#   pretrained    `normalised`, trained on five classes and given a new last layer for the other five, 150 batches of 32
#   detector      a small yolo detector on made scenes, 300 batches of 16
set -euo pipefail
models=()
for model in "$@"; do
    [ "$model" = reference ] || [ -r "$model" ] || { echo "select: $model: cannot read it" >&2; exit 1; }
    models+=("$([ "$model" = reference ] && echo reference || realpath "$model")")
done
cd "$(dirname "$0")/.."
build=$(realpath "${BUILD:-build}")
out=$build/selection
seeds=${SEEDS:-2}
jobs=${JOBS:-2}
kept=$PWD/cfg/selection.csv
cores=$(nproc)
export OMP_NUM_THREADS=$((cores > jobs ? cores / jobs : 1))

fail() {
    echo "select: $1" >&2
    exit 1
}
[ ${#models[@]} -gt 0 ] || fail "usage: select.sh MODEL.safetensors...|reference"
[ -x "$build/darknet" ] || fail "$build/darknet is missing: run make first"

# --- networks ---

# net BATCHES BATCH SIDE CHANNELS: [net] of a task; $options come from the training.
net() {
    printf '%s\n' '[net]' "max_batches=$1" "batch=$2" subdivisions=1 "width=$3" "height=$3" "channels=$4" \
        "min_crop=$3" "max_crop=$3" momentum=0.9 decay=0.0001 policy=poly power=1 "${options[@]}"
}
# conv FILTERS SIZE STRIDE NORMALISED ACTIVATION
conv() {
    printf '%s\n' '[convolutional]' "filters=$1" "size=$2" "stride=$3" pad=1 "batch_normalize=$4" "activation=$5"
}
pool() { printf '%s\n' '[maxpool]' size=2 stride=2; }
ending() { conv "$1" 1 1 0 linear; printf '%s\n' '[avgpool]' '[softmax]'; }

mlp_layers() {
    for i in 1 2 3 4 5 6; do printf '%s\n' '[connected]' output=96 activation=relu; done
    printf '%s\n' '[connected]' output=10 activation=linear '[softmax]'
}
plain_layers() {
    conv 16 3 1 0 relu; conv 16 3 1 0 relu; pool; conv 32 3 1 0 relu; conv 32 3 1 0 relu; pool
    conv 48 3 1 0 relu; conv 48 3 1 0 relu; ending 10
}
normalised_layers() {  # CLASSES
    conv 16 3 2 1 leaky; conv 16 3 1 1 leaky; conv 24 3 1 1 leaky; conv 32 3 2 1 leaky; conv 32 3 1 1 leaky
    conv 48 3 1 1 leaky; conv 64 3 2 1 leaky; conv 64 3 1 1 leaky; ending "$1"
}
residual_layers() {
    conv 12 3 2 0 linear
    for i in 1 2 3 4 5; do
        printf '%s\n' '[batchnorm]' '[activation]' activation=relu
        conv 12 3 1 1 relu
        conv 12 3 1 0 linear
        printf '%s\n' '[shortcut]' from=-5 activation=linear
    done
    printf '%s\n' '[batchnorm]' '[activation]' activation=relu
    ending 10
}
detector_layers() {
    conv 16 3 2 1 leaky; conv 24 3 2 1 leaky; conv 32 3 2 1 leaky; conv 48 3 1 1 leaky; conv 24 1 1 0 linear
    printf '%s\n' '[yolo]' mask=0,1,2 anchors=8,8,14,14,22,22 classes=3 num=3 jitter=.2 ignore_thresh=.6 truth_thresh=1
}

# task NAME: its cfg, with $options under [net]
task() {
    case $1 in
        mlp) net 500 64 28 1; mlp_layers ;;
        plain) net 500 64 28 1; plain_layers ;;
        normalised) net 500 64 28 1; normalised_layers 10 ;;
        residual) net 500 64 28 1; residual_layers ;;
        residual-long) net 3000 64 28 1; residual_layers ;;
        pretraining) net 300 64 28 1; normalised_layers 5 ;;
        pretrained) net 150 32 28 1; normalised_layers 5 ;;
        detector) net 300 16 64 3; detector_layers ;;
    esac
}
tasks=(mlp plain normalised residual residual-long pretrained detector)
[ -z "${TASKS:-}" ] || read -ra tasks <<<"$TASKS"
for name in "${tasks[@]}"; do
    declare -p options >/dev/null 2>&1 || options=()
    [ "$(task "$name" | wc -l)" -gt 0 ] || fail "no task $name"
done

# --- data ---

# scene NUMBER: a noisy picture of 64 x 64 with one to three squares, discs or crosses; its labels to stderr.
scene() {
    LC_ALL=C awk -v seed="$1" 'BEGIN {
        srand(seed); side = 64
        n = 1 + int(3 * rand()); tone = 60 + 80 * rand()
        for (k = 0; k < n; ++k) {
            kind[k] = int(3 * rand()); half[k] = 4 + int(9 * rand())
            x[k] = half[k] + int((side - 2 * half[k]) * rand()); y[k] = half[k] + int((side - 2 * half[k]) * rand())
            for (c = 0; c < 3; ++c) colour[k, c] = 30 + 200 * rand()
            printf "%d %.5f %.5f %.5f %.5f\n", kind[k], x[k] / side, y[k] / side, 2 * half[k] / side, 2 * half[k] / side > "/dev/stderr"
        }
        printf "P6\n%d %d\n255\n", side, side
        for (j = 0; j < side; ++j) for (i = 0; i < side; ++i) {
            on = -1
            for (k = 0; k < n; ++k) {
                dx = i - x[k]; dy = j - y[k]; h = half[k]
                if (dx < -h || dx >= h || dy < -h || dy >= h) continue
                if (kind[k] == 1 && dx * dx + dy * dy > h * h) continue
                if (kind[k] == 2 && (dx > h / 3 || dx < -h / 3) && (dy > h / 3 || dy < -h / 3)) continue
                on = k
            }
            for (c = 0; c < 3; ++c) printf "%c", 1 + int((on < 0 ? tone : colour[on, c]) + 25 * rand())
        } }'
}

make_scenes() {
    [ ! -e "$out/data/scenes.data" ] || return 0
    mkdir -p "$out/data/images" "$out/data/labels"
    for ((i = 1; i <= 240; ++i)); do
        scene $i >"$out/data/images/$i.ppm" 2>"$out/data/labels/$i.txt"
        echo "$out/data/images/$i.ppm"
    done >"$out/data/scenes.list"
    printf 'square\ndisc\ncross\n' >"$out/data/shapes.list"
    printf '%s\n' classes=3 "train=$out/data/scenes.list" "names=$out/data/shapes.list" >"$out/data/scenes.data"
}

# images of the first or the second five classes of Fashion-MNIST
half_of_classes() {  # NAME CLASSES(as in sed)
    local all=$build/data/fashion-mnist
    sed -n "$2p" "$all/labels.list" >"$out/data/$1.labels"
    grep -F -f "$out/data/$1.labels" "$all/train.list" >"$out/data/$1.list"
    printf '%s\n' classes=5 "train=$out/data/$1.list" "labels=$out/data/$1.labels" "names=$out/data/$1.labels" \
        >"$out/data/$1.data"
}

prepare() {
    mkdir -p "$out/data"
    BUILD=$build tools/get-data.sh fashion-mnist "$build/data/fashion-mnist" >&2
    grep -E '^(classes|train|labels|names)=' "$build/data/fashion-mnist/images.data" >"$out/data/images.data"
    half_of_classes first 1,5
    half_of_classes second 6,10
    make_scenes
    [ -s "$out/data/start" ] || {
        options=(optimizer=adam learning_rate=0.001 seed=1)
        task pretraining >"$out/data/pretraining.cfg"
        { cat "$out/data/first.data"; echo "backup=$out/data/backup"; } >"$out/data/pretraining.data"
        (cd "$out/data" && "$build/darknet" classifier train pretraining.data pretraining.cfg >pretraining.txt 2>&1) ||
            fail "$out/data/pretraining.txt: $(tail -n 1 "$out/data/pretraining.txt")"
        "$build/darknet" partial "$out/data/pretraining.cfg" "$out/data/backup/pretraining.weights" "$out/data/start" 8 \
            >/dev/null 2>&1
    }
}

# --- trainings ---

# train FOLDER TASK SEED OPTION...: leaves the loss in FOLDER/TASK-SEED/loss
train() {
    local folder=$1/$2-$3 name=$2 command=classifier data=images start=() trained=0 batches
    options=("${@:4}" "seed=$3" optimizer_log=log.csv)
    mkdir -p "$folder"
    [ ! -s "$folder/loss" ] || return 0
    [ "$name" != detector ] || { command=detector data=scenes; }
    [ "$name" != pretrained ] || { data=second; start=("$out/data/start" -clear); }
    task "$name" >"$folder/net.cfg"
    batches=$(sed -n 's/^max_batches=//p' "$folder/net.cfg")
    { cat "$out/data/$data.data"; printf '%s\n' backup=backup "save_every=$batches"; } >"$folder/net.data"
    cd "$folder"
    "$build/darknet" $command train net.data net.cfg "${start[@]}" >out.txt 2>&1 || trained=$?
    if [ $trained = 3 ]; then
        echo inf >loss
    elif [ $trained != 0 ]; then
        fail "$folder: $(tail -n 1 out.txt)"
    else
        sed 1d log.csv | tail -n $((batches / 10)) | awk -F, '{ s += $3 } END { printf "%.5g\n", s / NR }' >loss
    fi
    rm -rf backup
}

# run_all FOLDER TASKS OPTION...: with all seeds, some at a time
run_all() {
    local folder=$1
    for name in $2; do
        for ((seed = 1; seed <= seeds; ++seed)); do printf '%s\0' "$name" "$seed"; done
    done | OPTIONS=${*:3} xargs -0 -n 2 -P "$jobs" bash -c \
        'set -euo pipefail; read -ra given <<<"$OPTIONS"; cd "$root"; train "$0" "$@" "${given[@]}"' "$folder"
}
# mean_loss FOLDER TASK
mean_loss() { cat "$1/$2"-[0-9]*/loss | awk '{ s += $1 } /inf/ { dead = 1 } END { print dead ? "inf" : s / NR }'; }

root=$PWD
export -f train task net conv pool ending mlp_layers plain_layers normalised_layers residual_layers detector_layers fail
export out build root
prepare
for model in "${models[@]}"; do
    if [ "$model" = reference ]; then
        for rate in 0.0003 0.001 0.003 0.01; do
            run_all "$out/adam-$rate" "${tasks[*]}" optimizer=adam "learning_rate=$rate"
        done
        # Rows of tasks that were left out stay.
        { echo task,rate,loss
          [ ! -r "$kept" ] || sed 1d "$kept" | grep -v -E "^($(IFS='|'; echo "${tasks[*]}"))," || true
          for name in "${tasks[@]}"; do
              for rate in 0.0003 0.001 0.003 0.01; do echo "$name,$rate,$(mean_loss "$out/adam-$rate" "$name")"; done |
                  LC_ALL=C sort -t , -k 3g | head -n 1
          done
        } | tee "$kept.new"
        mv "$kept.new" "$kept"
        continue
    fi
    [ -r "$kept" ] || fail "$kept is missing: tools/select.sh reference makes it"
    folder=$out/$(basename "$model" .safetensors)
    # Results of another model of that name do not count.
    digest=$(sha256sum "$model" | cut -c 1-16)
    [ "$(cat "$folder/digest" 2>/dev/null)" = "$digest" ] || { rm -rf "$folder"; mkdir -p "$folder"; echo "$digest" >"$folder/digest"; }
    run_all "$folder" "${tasks[*]}" optimizer=hrnn "optimizer_weights=$model"
    for name in "${tasks[@]}"; do echo "$name $(mean_loss "$folder" "$name")"; done |
        awk -v model="$(basename "$model" .safetensors)" '
            FNR == NR { split($0, part, ","); reference[part[1]] = part[3]; next }
            { n++; name[n] = $1; ratio[n] = $2 == "inf" ? "inf" : $2 / reference[$1]
              if ($2 == "inf") dead++; else sum += log($2 / reference[$1]) }
            END { printf "%s:", model
                  for (i = 1; i <= n; ++i) printf " %s %s", name[i], ratio[i] == "inf" ? "diverged" : sprintf("%.3f", ratio[i])
                  printf "; score %s\n", dead ? "diverged" : sprintf("%.4f", exp(sum / n)) }' "$kept" -
done
