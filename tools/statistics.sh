#!/bin/bash
# What the statistics of batch normalisation do to the file at the end of a training: the same weights, once with
# the rolling ones (what a save on the way holds) and once with those that are taken anew (the last file).
#   tools/statistics.sh [ROW...]   trains, prints a table and leaves it as BUILD/statistics/ROW.txt
#       demo         cfg/fashion-resnet.cfg on Fashion-MNIST
#       resnet20     cfg/cifar-resnet20.cfg on CIFAR-10, 1,000 batches, linear decay
#       flowers-150  flowers-600   Darknet's tiny.cfg from pretrained weights on a folder of flowers, batches of 64
#       detector     cfg/tiny-detector.cfg from the same weights on photographs of blood cells, 600 batches of 16
#   RULES="hrnn adam=0.001"   the optimizers, with their learning rates (default: those of the row)
#   LABEL=name                what hrnn is called in the table, with another model ($HRNN_WEIGHTS) or program
#   DARKNET=build/darknet     the program that trains
#   FLOWERS= CELLS= TINY=     a folder of folders of images by class; a folder with images/{train,test} and
#                             labels/{train,test}; weights of tiny.cfg. Default: those of ../shared/data
#   JOBS=2                    trainings at a time, with the cores divided among them
#   BUILD=build               results go to BUILD/statistics; what is there is not trained again
set -euo pipefail
cd "$(dirname "$0")/.."

build=$(realpath "${BUILD:-build}")
darknet=$(realpath "${DARKNET:-$build/darknet}")
out=$build/statistics
jobs=${JOBS:-2}
cores=$(nproc)
export OMP_NUM_THREADS=$((cores > jobs ? cores / jobs : 1))
mkdir -p "$out"

fail() {
    echo "statistics: $1" >&2
    exit 1
}

# given VARIABLE DEFAULT WHAT: the file or folder that it names
given() {
    local path=${!1:-$2}
    [ -e "$path" ] || fail "$path: missing; $1= names $3"
    realpath "$path"
}

# unpacked ARCHIVE: the folder that it holds
unpacked() {
    local name
    name=$(basename "$1" .tar)
    [ -d "$out/data/$name" ] || { [ -f "$1" ] && mkdir -p "$out/data" && tar -C "$out/data" -xf "$1"; } || true
    echo "$out/data/$name"
}

# settings CFG OPTION=VALUE...: the cfg with these under [net] in place of its own
settings() {
    local cfg=$1 option
    shift
    local drop='^(optimizer|learning_rate|seed|policy|power|steps|scales|burn_in|max_batches|batch|subdivisions)='
    local add=('optimizer_log=log.csv' 'seed=1' 'policy=poly' 'power=1')
    for option in "$@"; do
        drop="$drop|^${option%%=*}="
        add+=("$option")
    done
    awk -v drop="$drop" -v add="$(printf '%s\n' "${add[@]}")" '
        /^\[/ { net = /^\[net/ }
        net && $0 ~ drop { next }
        { print }
        /^\[net/ { print add }' "$cfg"
}

# --- the rows: what is trained, and how. Each prints the options of [net] and makes what it needs. ---

row_demo() {
    case $1 in
        prepare)
            BUILD=$build tools/get-data.sh fashion-mnist "$build/data/fashion-mnist" >&2
            grep -v '^backup' "$build/data/fashion-mnist/images.data" >"$out/demo/images.data" ;;
        rules) echo hrnn adam=0.01 sgd=0.1 ;;
        cfg) settings cfg/fashion-resnet.cfg batch=128 subdivisions=1 max_batches=1000 decay=0.0001 "${@:2}" ;;
        batches) echo 1000 ;;
        command) echo classifier ;;
    esac
}

row_resnet20() {
    case $1 in
        prepare)
            BUILD=$build tools/get-data.sh cifar-10 "$build/data/cifar-10" >&2
            grep -v '^backup' "$build/data/cifar-10/cifar-10.data" >"$out/resnet20/images.data"
            echo label_smoothing=0 >>"$out/resnet20/images.data" ;;
        rules) echo hrnn adam=0.01 sgd=0.1 ;;
        cfg) settings cfg/cifar-resnet20.cfg batch=128 subdivisions=1 max_batches=1000 "${@:2}" ;;
        batches) echo 1000 ;;
        command) echo cifar ;;
    esac
}

# Every fifth flower of a class is held out.
flowers_lists() {
    local folder class
    folder=$(given FLOWERS "$(unpacked ../shared/data/flowers.tar)" "a folder of folders of flowers")
    tiny=$(given TINY ../shared/data/tiny.weights "weights of tiny.cfg")
    (cd "$folder" && find . -mindepth 1 -maxdepth 1 -type d | sed 's#^\./##' | LC_ALL=C sort) >"$1/labels.list"
    while read -r class; do find "$folder/$class" -type f | LC_ALL=C sort; done <"$1/labels.list" >"$1/all.list"
    awk 'NR % 5 == 0' "$1/all.list" >"$1/valid.list"
    awk 'NR % 5 != 0' "$1/all.list" >"$1/train.list"
    printf '%s\n' "classes=$(wc -l <"$1/labels.list")" "train=$1/train.list" "valid=$1/valid.list" \
        "labels=$1/labels.list" "names=$1/labels.list" >"$1/images.data"
    "$darknet" partial "$build/host/cfg/tiny.cfg" "$tiny" "$1/start" 19 >/dev/null 2>&1
}

flowers_row() {  # BATCHES FOLDER WHAT OPTION...
    case $3 in
        prepare) flowers_lists "$2" ;;
        rules) echo hrnn adam=0.001 sgd=0.01 ;;
        cfg)
            settings "$build/host/cfg/tiny.cfg" batch=64 subdivisions=1 max_batches="$1" width=128 height=128 \
                max_crop=160 "${@:4}" | sed "s/^filters=1000/filters=$(wc -l <"$2/labels.list")/" ;;
        batches) echo "$1" ;;
        command) echo classifier ;;
    esac
}
row_flowers-150() { flowers_row 150 "$out/flowers-150" "$@"; }
row_flowers-600() { flowers_row 600 "$out/flowers-600" "$@"; }

row_detector() {
    local folder=$out/detector
    case $1 in
        prepare)
            cells=$(given CELLS "$(unpacked ../shared/data/bccd.tar)" "a folder with images/ and labels/")
            tiny=$(given TINY ../shared/data/tiny.weights "weights of tiny.cfg")
            for part in train test; do
                find "$cells/images/$part" -name '*.jpg' | LC_ALL=C sort >"$folder/$part.list"
            done
            printf 'platelet\nred\nwhite\n' >"$folder/names.list"
            printf '%s\n' classes=3 "train=$folder/train.list" "valid=$folder/test.list" \
                "names=$folder/names.list" >"$folder/images.data"
            "$darknet" partial "$build/host/cfg/tiny.cfg" "$tiny" "$folder/start" 19 >/dev/null 2>&1 ;;
        rules) echo hrnn adam=0.001 sgd=0.001 ;;
        cfg) settings cfg/tiny-detector.cfg batch=16 subdivisions=1 max_batches=600 decay=0.0005 "${@:2}" ;;
        batches) echo 600 ;;
        command) echo detector ;;
    esac
}

# --- one training: out/ROW/NAME with log.csv, the last two files, and figures ---

train() {  # ROW NAME RULE RATE
    local row=$1 name=$2 rule=$3 rate=$4
    local folder=$out/$row/$name command batches final=.weights start=() data=()
    command=$(row_"$row" command)
    batches=$(row_"$row" batches)
    [ "$command" != detector ] || final=_final.weights
    [ ! -e "$out/$row/start" ] || start=("$out/$row/start")
    mkdir -p "$folder"
    [ ! -s "$folder/figures" ] || return 0
    row_"$row" cfg optimizer="$rule" learning_rate="$rate" >"$folder/net.cfg"
    { cat "$out/$row/images.data"
      printf '%s\n' backup=backup save_every="$batches"
      [ "$command" = detector ] || printf '%s\n' valid_every="$batches" valid_log=valid.csv
    } >"$folder/images.data"
    cd "$folder"
    local trained=0 images=(images.data net.cfg) records=()
    [ "$command" != cifar ] || { images=(net.cfg) records=(-data images.data); }
    "$darknet" "$command" train "${images[@]}" "${start[@]}" "${records[@]}" -clear >out.txt 2>&1 || trained=$?
    if [ $trained = 3 ]; then
        printf '%s\n' diverged - - >figures
        return 0
    fi
    [ $trained = 0 ] || fail "$folder: $(tail -n 1 out.txt)"
    "$darknet" "$command" statistics "${images[@]}" backup/net.backup mended.weights "${records[@]}" >mended.txt 2>/dev/null
    loss=$(sed 1d log.csv | tail -n $((batches / 10)) | awk -F, '{ s += $3 } END { printf "%.4f", s / NR }')
    if [ "$command" = detector ]; then
        printf '%s\n' "$loss" "$(average_precision backup/net.backup)" "$(average_precision backup/net$final)" >figures
    else
        printf '%s\n' "$loss" "$(sed -n 's/^Held out with the old.*loss \([0-9.]*\), accuracy \([0-9.]*\).*/\1 \2/p' mended.txt)" \
            "$(tail -n 1 valid.csv | awk -F, '{ printf "%.6f %.6f", $3, $4 }')" >figures
    fi
}

# The boxes of an image list's labels, in pixels as `detector valid` prints them: image class left top right bottom.
# All photographs are 640 x 480.
truths() {
    local image label
    while read -r image; do
        label=${image/\/images\//\/labels\/}
        awk -v image="$(basename "$image" .jpg)" -v w=640 -v h=480 '{
            print image, $1, ($2 - $4/2) * w + 1, ($3 - $5/2) * h + 1, ($2 + $4/2) * w + 1, ($3 + $5/2) * h + 1
        }' "${label%.jpg}.txt"
    done <"$1"
}

# Average precision, the mean over classes, at IoU 0.5 and over IoU 0.5, 0.55, ... 0.95, as COCO's evaluation has
# it: the precision envelope at recalls 0, 0.01, ... 1; detections in the order of their probability, each taking
# the free box of its image that it overlaps most.
average_precision() {  # WEIGHTS
    local class=0 name
    rm -rf results
    "$darknet" detector valid images.data net.cfg "$1" >valid.txt 2>&1
    truths "$(sed -n 's/^valid=//p' images.data)" >truths.txt
    while read -r name; do
        LC_ALL=C sort -s -k 2,2gr "results/comp4_det_test_$name.txt" | awk -v class="$class" '
            FNR == NR { if ($2 == class) { n = ++boxes[$1]; ++all; for (k = 3; k <= 6; ++k) box[$1, n, k] = $k }; next }
            { ++found; for (k = 1; k <= 6; ++k) detection[found, k] = $k }
            function least(a, b) { return a < b ? a : b }
            function most(a, b) { return a > b ? a : b }
            function overlap(d, image, n,    w, h, both, sum) {
                w = least(detection[d, 5], box[image, n, 5]) - most(detection[d, 3], box[image, n, 3])
                h = least(detection[d, 6], box[image, n, 6]) - most(detection[d, 4], box[image, n, 4])
                if (w <= 0 || h <= 0) return 0
                both = w * h
                sum = (detection[d, 5] - detection[d, 3]) * (detection[d, 6] - detection[d, 4])
                sum += (box[image, n, 5] - box[image, n, 3]) * (box[image, n, 6] - box[image, n, 4])
                return both / (sum - both)
            }
            function precision_at(threshold,    taken, right, d, n, best, at, o, sum, i, p, r) {
                delete taken
                right = 0
                for (d = 1; d <= found; ++d) {
                    best = 0
                    for (n = 1; n <= boxes[detection[d, 1]]; ++n) {
                        o = overlap(d, detection[d, 1], n)
                        if (!((detection[d, 1], n) in taken) && o > best) { best = o; at = n }
                    }
                    if (best >= threshold) { ++right; taken[detection[d, 1], at] = 1 }
                    precision[d] = right / d
                    recall[d] = right / all
                }
                for (d = found - 1; d >= 1; --d) precision[d] = most(precision[d], precision[d + 1])
                for (i = 0; i <= 100; ++i) {
                    for (d = 1 + 0 * (p = 0); d <= found; ++d) if (recall[d] >= i / 100 - 1e-12) { p = precision[d]; break }
                    sum += p
                }
                return sum / 101
            }
            END {
                for (t = 0; t < 10; ++t) { ap[t] = precision_at(.5 + t / 20); sum += ap[t] }
                print ap[0], sum / 10
            }' truths.txt -
        class=$((class + 1))
    done <"$(sed -n 's/^names=//p' images.data)" |
        awk '{ a += $1; b += $2 } END { printf "%.3f %.3f", a / NR, b / NR }'
}

rows=("$@")
[ $# -gt 0 ] || rows=(demo resnet20 flowers-150 flowers-600 detector)
root=$PWD
export -f train truths average_precision settings given unpacked flowers_lists flowers_row row_demo row_resnet20 \
    row_flowers-150 row_flowers-600 row_detector fail
export out build darknet root
for row in "${rows[@]}"; do
    declare -F "row_$row" >/dev/null || fail "no row $row"
    mkdir -p "$out/$row"
    row_"$row" prepare
    read -ra rules <<<"${RULES:-$(row_"$row" rules)}"
    for rule in "${rules[@]}"; do
        name=$rule
        [ "$rule" != hrnn ] || name=${LABEL:-hrnn}
        printf '%s\0' "$row" "$name" "${rule%%=*}" "$([[ $rule = *=* ]] && echo "${rule#*=}" || echo 1)"
    done | xargs -0 -n 4 -P "$jobs" bash -c 'set -euo pipefail; cd "$root"; train "$@"' bash
    {
        printf '%-12s %-24s %10s   %-20s %-20s\n' "$row" '' training rolling 'taken anew'
        for folder in "$out/$row"/*/; do
            [ -s "$folder/figures" ] || continue
            mapfile -t figures <"$folder/figures"
            printf '%-12s %-24s %10s   %-20s %-20s\n' '' "$(basename "$folder")" "${figures[@]}"
        done
    } | tee "$out/$row.txt"
done
