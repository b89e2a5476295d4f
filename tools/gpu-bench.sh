#!/bin/bash
# What a GPU has to show, in ten minutes: builds, checks, measures, trains, and writes it all to one file.
#   tools/gpu-bench.sh [FOLDER]         results.txt and the logs of the trainings go there; default BUILD/gpu-bench
#   tools/gpu-bench.sh draw [FOLDER]    only draws the curves of a run on a machine without gnuplot
#   tools/gpu-bench.sh pack FOLDER      makes a copy of the project to carry to a machine that cannot build it: programs
#                                       (for ARCH and MARCH), the libraries they need but for CUDA's, tests and data
#   BUDGET=570      seconds for everything; the trainings get what is left, hrnn's first
#   PHASES="build check step time train draw"
#   DRY_RUN=1       every phase in miniature on the CPU, to test this script
#   FLOWERS=        flowers.tar: folders of JPEGs, one for each class
#   STEPS=3000 OTHER_STEPS=1500 TRAIN_BATCH=8    of the trainings: hrnn's batches, those of adam and sgd, their size
#   BUILD=build     where the programs are, or go; a folder from `pack` has its own
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
began=$SECONDS
dry=${DRY_RUN:-}
build=${BUILD:-build}
budget=${BUDGET:-570}
nets="imagenet-resnet50-v2 imagenet-inception-v3"
flowers=${FLOWERS:-}
for file in data/flowers.tar shared/data/flowers.tar ../shared/data/flowers.tar; do
    [ -n "$flowers" ] || [ ! -f "$file" ] || flowers=$file
done
tests="test_host_gpu test_host_sync e2e_gpu"
batches="32 64" time_steps=20 rounds=2 steps=${STEPS:-3000} others=${OTHER_STEPS:-1500} batch=${TRAIN_BATCH:-8}
side='' held=400
if [ -n "$dry" ]; then
    batches="1 2" time_steps=1 rounds=1 steps=${STEPS:-6} others=${OTHER_STEPS:-4} batch=2 side=96 held=8
fi

fail() {
    echo "gpu-bench: $1" >&2
    exit 1
}

spent() { echo $((SECONDS - began)); }
left() { echo $((budget - SECONDS + began)); }

# --- pack ---

pack() {
    local to=$1 arch=${ARCH:-"-gencode arch=compute_90,code=sm_90"} file
    local options=(BUILD=build/gpu-pack HOST_DIR="${HOST_DIR:-build/host}" GPU=1 CUDNN=1 OPENCV=0 OPENBLAS=0
        ARCH="$arch" MARCH="${MARCH:-x86-64-v3}")
    [ -z "${DOWNLOADS:-}" ] || options+=(DOWNLOADS="$DOWNLOADS")
    make "${options[@]}" all build/gpu-pack/tests/test_host_gpu build/gpu-pack/tests/test_host_sync || exit 1
    [ -n "$flowers" ] || fail "no flowers.tar: name it with FLOWERS="
    mkdir -p "$to/build/tests" "$to/build/dev" "$to/build/lib" "$to/data" || exit 1
    cp -R cfg tests tools weights "$to/"
    cp "$flowers" "$to/data/flowers.tar"
    for file in darknet dev/replay dev/bench-step dev/time-host-step tests/test_host_gpu tests/test_host_sync; do
        strip -o "$to/build/$file" "build/gpu-pack/$file" || exit 1
        ldd "build/gpu-pack/$file"
    done | awk '/=> \// && !/cuda|cublas|cudnn|curand|\/(libc|libm|libstdc\+\+|libgcc_s|ld-linux[^ ]*)\.so/ {
        print $3 }' |
        sort -u | xargs -I '{}' cp -L '{}' "$to/build/lib/"
    cp build/gpu-pack/*.safetensors "$to/build/"
    git describe --always --dirty >"$to/commit" 2>/dev/null
    du -sh "$to"
}

# --- the results file ---

say() { printf '%s\n' "$*" | tee -a "$results"; }
chapter() { say ""; say "## $* (at $(spent) s)"; }
# Runs a command, its output indented in the results; says with which status it failed.
record() {
    local status
    "$@" 2>&1 | sed 's/^/    /' | tee -a "$results"
    status=${PIPESTATUS[0]}
    [ "$status" = 0 ] || say "    FAILED with status $status: $*"
    return "$status"
}

# The libraries of CUDA that come with Python's packages or are not on the loader's path, and those of a pack.
find_libraries() {
    local missing folder found=
    missing=$(ldd "$build/darknet" 2>/dev/null | awk '/not found/ { print $1 }')
    [ -n "$missing" ] || return 0
    mkdir -p "$out/lib"
    for file in $missing; do
        found=
        for folder in /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib "$(python3 -c \
            'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null)"/*/lib "$build/lib"; do
            [ -z "$found" ] && [ -e "$folder/$file" ] || continue
            found=$folder
            # cuDNN loads parts of itself from the folder it lies in.
            [ "$folder" = "$build/lib" ] && ln -sf "$(realpath "$folder/$file")" "$out/lib/" ||
                LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        done
        [ -n "$found" ] || say "$file: not found, and a program needs it"
    done
    LD_LIBRARY_PATH=$out/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
}

# GB/s of memory and TFLOP/s of float32 from NVIDIA's data sheets.
card_peaks() {
    case $card in
        *H200*) echo 4800 67 ;;
        *H100*HBM3*) echo 3350 67 ;;
        *H100*) echo 2000 51 ;;
        *A100*80GB*) echo 2039 19.5 ;;
        *) echo 0 0 ;;
    esac
}

# --- phases ---

phase_build() {
    chapter Build
    if [ -x "$build/darknet" ] && { [ -n "$dry" ] || [[ $(ldd "$build/darknet") = *libcudart* ]]; }; then
        say "$build/darknet is there"
    elif [ -n "$dry" ]; then
        record make -s BUILD="$build" all || return 1
    else
        local cc
        cc=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
        record make -s BUILD="$build" GPU=1 CUDNN=1 ARCH="-gencode arch=compute_$cc,code=sm_$cc" all \
            "$build/tests/test_host_gpu" "$build/tests/test_host_sync" || return 1
    fi
    find_libraries
}

phase_check() {
    chapter "Checks: skipped ones need a GPU"
    record env BUILD="$build" tests/run.sh $tests
    local name
    for name in $tests; do
        grep -q apart "$build/tests/$name.log" && record grep apart "$build/tests/$name.log"
    done
    if [[ $("$build/dev/replay" --help) = *cuda* ]]; then
        record "$build/dev/replay" --device "$device" tests/golden/trace*.safetensors
    else
        say "$build/dev/replay has no --device cuda: the step was not checked against the recorded traces"
    fi
}

phase_step() {
    chapter "Step of each optimizer on $device (hrnn: at most 3 ms on ResNet V2-50's tensors, goal 1.5)"
    if [[ $("$build/dev/bench-step" --help) = *--device* ]]; then
        record timeout 90 "$build/dev/bench-step" --device "$device" ${dry:+--large 100000}
    else
        say "$build/dev/bench-step has no --device cuda"
    fi
    say "On the tensors of ResNet V2-50, as the host calls it (median of the updates of a training):"
    local rule bytes parameters ms
    for rule in sgd adam hrnn; do
        make_net imagenet-resnet50-v2 $rule 2 1000 "optimizer_log=$out/step-$rule.csv" \
            max_batches=$((10 * time_steps)) >"$out/run.cfg"
        run_short $rule || { say "    $rule: failed, or took over 90 s: $(tail -n 1 "$out/step-$rule.log" 2>/dev/null)"; continue; }
        read -r bytes parameters < <(
            sed -n 's/^Optimizer: .*, \([0-9]*\) bytes of state, \([0-9]*\) param.*/\1 \2/p' "$out/step-$rule.log")
        ms=$(cut -d, -f7 "$out/step-$rule.csv" | tail -n +3 | sort -g |
            awk '{ v[NR] = $1 } END { print 1e3 * v[int((NR + 1) / 2)] }')
        awk -v rule=$rule -v ms="$ms" -v state="$bytes" -v n="$parameters" -v peak="$bandwidth" 'BEGIN {
            moved = 2 * state + 16 * n # state, parameters and gradients are read and written once
            printf "    %-5s %8.3f ms, %d parameters, %.0f bytes of state; ", rule, ms, n, state
            printf "at least %.3f GB moved: %.0f GB/s", moved / 1e9, moved / ms / 1e6
            if (peak) printf ", %.0f %% of the card%s %d", 100 * moved / ms / 1e6 / peak, "\047s", peak
            print "" }' | tee -a "$results"
    done
}

# A few batches of flowers with the cfg in run.cfg; its output goes to step-RULE.log.
run_short() {
    prepare_data || return 1
    # shellcheck disable=SC2086
    timeout 90 "$build/darknet" $gpu classifier train "$out/flowers-1000.data" "$out/run.cfg" \
        >"$out/step-$1.log" 2>&1
}

# make_net NAME RULE BATCH CLASSES OPTIONS...: a cfg of cfg/NAME.cfg on stdout; OPTIONS replace those of [net].
make_net() {
    local name=$1 rule=$2 size=$3 classes=$4
    shift 4
    awk -v set="optimizer=$rule batch=$size subdivisions=1 seed=1 ${side:+width=$side height=$side} $*" \
        -v classes="$classes" '
        BEGIN { n = split(set, option, " ") }
        /^\[net\]/ { print; for (i = 1; i <= n; i++) print option[i]; net = 1; next }
        /^\[/ { net = 0 }
        net { key = $0; sub(/[ \t]*=.*/, "", key)
              for (i = 1; i <= n; i++) if (index(option[i], key "=") == 1) next }
        /^output=1000$/ || /^filters=1000$/ { sub(1000, classes) }
        { print }' "cfg/$name.cfg"
}

phase_time() {
    chapter "Training step in seconds, shortest of $((rounds * time_steps)); hrnn: at most 1.05 times sgd"
    local net size rule round taken
    for net in $nets; do
        for size in $batches; do
            local -A shortest=()
            for ((round = 0; round < rounds; round++)); do
                for rule in sgd adam hrnn; do
                    make_net "$net" $rule "$size" 1000 >"$out/run.cfg"
                    taken=$(timeout 60 "$build/dev/time-host-step" "$out/run.cfg" $time_steps 2>"$out/time.log" |
                        awk 'END { if (NF == 2) print $1 }')
                    [ -n "$taken" ] ||
                        { say "    $net, batch $size, $rule: $(tail -n 1 "$out/time.log")"; continue 2; }
                    shortest[$rule]=$(awk -v a="$taken" -v b="${shortest[$rule]:-1e9}" \
                        'BEGIN { if (a + 0 < b + 0) print a; else print b }')
                done
            done
            [ -n "${shortest[hrnn]:-}" ] || continue
            awk -v what="$net batch $size" -v s="${shortest[sgd]}" -v a="${shortest[adam]}" \
                -v h="${shortest[hrnn]}" 'BEGIN {
                    printf "    %-32s sgd %.4f, adam %.4f (%.3f x), hrnn %.4f (%.3f x)\n", what, s, a, a / s, h, h / s
                }' | tee -a "$results"
        done
    done
}

# Lists of the flowers: every eleventh image is held out. The training list is repeated, so that no epoch ends, and
# nothing is saved, before a training does.
prepare_data() {
    [ ! -f "$out/flowers-5.data" ] || return 0
    [ -n "$flowers" ] || { say "no flowers.tar: name it with FLOWERS="; return 1; }
    mkdir -p "$out/pictures"
    tar -xf "$flowers" -C "$out/pictures" || return 1
    local all
    all=$(find "$(realpath "$out/pictures")" -name '*.jpg' | LC_ALL=C sort | shuf --random-source=<(yes))
    [ -z "$dry" ] || all=$(head -n 66 <<<"$all")
    awk 'NR % 11 == 0' <<<"$all" >"$out/valid.list"
    awk -v images=$((steps * batch)) '
        NR % 11 { a[n++] = $0 }
        END { for (k = 0; k < images / n + 1; k++) for (i = 0; i < n; i++) print a[i] }' <<<"$all" >"$out/train.list"
    printf '%s\n' daisy dandelion rose sunflower tulip >"$out/labels-5.list"
    { cat "$out/labels-5.list"; seq -f 'none-%03g-' 6 1000; } >"$out/labels-1000.list"
    local n
    for n in 5 1000; do
        printf '%s\n' classes=$n "train=$out/train.list" "labels=$out/labels-$n.list" "backup=$out/backup" \
            save_every=1000000 >"$out/flowers-$n.data"
    done
}

# train NET RULE LIMIT: one training of at most LIMIT seconds; SIGTERM lets it measure nothing, but its log is whole.
train() {
    local net=$1 rule=$2 limit=$3 run=$out/$1-$2 n=$others rate
    [ "$rule" != hrnn ] || n=$steps
    case $rule in sgd) rate=0.01 ;; *) rate=0.001 ;; esac
    mkdir -p "$run"
    sed "s|^backup=.*|backup=$run/backup|" "$out/flowers-5.data" >"$run/run.data"
    printf '%s\n' "valid=$out/valid.list" valid_every=$((n / 3)) "valid_images=$held" "valid_log=$run/valid.csv" \
        >>"$run/run.data"
    make_net "$net" "$rule" "$batch" 5 max_batches="$n" learning_rate=$rate policy=poly power=1 \
        "optimizer_log=$run/loss.csv" >"$run/run.cfg"
    # shellcheck disable=SC2086
    timeout -s TERM -k 30 "$limit" "$build/darknet" $gpu classifier train "$run/run.data" "$run/run.cfg" \
        >"$run/train.log" 2>&1
    echo $? >"$run/status"
    rm -rf "$run/backup"
}

phase_train() {
    local net rule pids parts=2
    chapter "Training on flowers, side by side: hrnn $steps batches of $batch, adam (0.001) and sgd (0.01) $others"
    prepare_data || return 1
    for net in $nets; do
        local limit=$(($(left) * (parts == 2 ? 45 : 92) / 100))
        parts=1
        [ $limit -gt 5 ] || { say "    $net: no time left"; continue; }
        pids=()
        for rule in hrnn adam sgd; do
            train "$net" $rule "$limit" &
            pids+=($!)
        done
        wait "${pids[@]}"
        for rule in hrnn adam sgd; do report_run "$net" $rule; done
    done
    say "loss: mean over the last 100 batches; accuracy: on $held held-out images after the batch in brackets"
}

report_run() {
    local run=$out/$1-$2
    awk -F, -v what="$1 $2" -v status="$(cat "$run/status")" -v last="$(tail -n 1 "$run/train.log")" '
        FNR == 1 { file++; next }
        file == 1 { n++; loss[n] = $3; if ($3 + 0 != $3 || $3 > 1e4) bad++; total += $6 }
        file == 2 { at = $1; accuracy = $4 }
        END {
            if (!n) { print "    " what ": status " status ": " last; exit }
            k = n < 100 ? n : 100
            for (i = n - k + 1; i <= n; i++) sum += loss[i]
            end = ", status " status ": " last
            if (status == 0) end = ""
            if (status == 124 || status == 143) end = ", stopped for time"
            printf "    %-30s %5d batches, %.4f s each, first loss %.3f, last %.3f, accuracy %.3f (%d), ",
                what, n, total / n, loss[1], sum / k, accuracy, at
            printf "%d losses not finite or above 1e4%s\n", bad, end
        }' "$run/loss.csv" "$run/valid.csv" 2>&1 | tee -a "$results"
}

phase_draw() {
    chapter Curves
    command -v gnuplot >/dev/null ||
        { say "no gnuplot here: run tools/gpu-bench.sh draw on this folder where there is one"; return 0; }
    local net rule curves
    for net in $nets; do
        curves=()
        for rule in sgd adam hrnn; do
            [ ! -s "$out/$net-$rule/loss.csv" ] || curves+=("$rule=$out/$net-$rule/loss.csv")
        done
        [ ${#curves[@]} -gt 0 ] || continue
        record tools/plot-curves.sh -o "$out/$net.png" -t "$net on flowers" -x batch "${curves[@]}" &&
            say "$out/$net.png"
    done
}

case ${1:-} in
    pack)
        [ $# = 2 ] || fail "usage: gpu-bench.sh pack FOLDER"
        pack "$2"
        exit ;;
    draw) PHASES=draw; shift ;;
esac
out=${1:-$build/gpu-bench}
mkdir -p "$out" && out=$(realpath "$out") || exit 1
results=$out/results.txt
device=cuda gpu="-i 0" card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
[ -z "$dry" ] || device=cpu gpu=-nogpu card="none: a dry run on the CPU"
read -r bandwidth _ < <(card_peaks)
export HRNN_WEIGHTS=$PWD/weights/hrnn.safetensors
if [ "${PHASES:-}" != draw ]; then
    : >"$results"
    commit=$(git describe --always --dirty 2>/dev/null || cat commit 2>/dev/null)
    say "# ${commit:-packed}, $(date -u +%F), card: ${card:-none}, $(nproc) cores"
    [ -n "$dry$card" ] || say "no GPU found (nvidia-smi): DRY_RUN=1 tests this script without one"
fi
for phase in ${PHASES:-build check step time train draw}; do
    "phase_$phase" || say "phase $phase failed"
done
say ""
say "done after $(spent) s: $results"
