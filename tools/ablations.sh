#!/bin/bash
# Meta-trains a small model without each part of the optimizer, all with the same budget, tasks and random numbers,
# and prints what each part is worth.
#   tools/ablations.sh [NAME...]    default: all of them; an interrupted one goes on
#   STEPS=300 EPISODE=50:300        the budget: outer steps of 16 antithetic pairs
#   CORPUS=wide IMAGES=DIR,...      as in build/metatrain (default: build/data/fashion-mnist-idx)
#   OUT=weights/ablations           the models, table.txt and table.csv
#   SEEDS=3 BATCHES=1000            of the ConvNet of cfg/mnist-conv-relu.cfg that each model then trains,
#   DATA=mnist                      on these images (or fashion-mnist)
#   BUILD=build
# meta-loss: mean over the last third of the outer steps. Both losses are put beside those of the model "all",
# which is always among them.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
out=${OUT:-weights/ablations}
steps=${STEPS:-300}
images=${IMAGES:-$build/data/fashion-mnist-idx}
# The name, and the features that it is without; "all" has what the default model has.
models="
all                 attention
attention           none
timescales          attention,timescales
products            attention,products
log_mean_square     attention,log_mean_square
relative_lr         attention,relative_lr
shortcut            attention,shortcut
input_scaling       attention,input_scaling
step_normalisation  attention,step_normalisation
dynamic_lr          attention,dynamic_lr
tensor_rnn          attention,tensor_rnn
global_rnn          attention,global_rnn
rate_to_size        attention,rate_to_size
absolute_lr         attention,absolute_lr
time                attention,time
lr_limit            attention,lr_limit
"

fail() {
    echo "ablations: $1" >&2
    exit 1
}

[ -x "$build/metatrain" ] || fail "$build/metatrain is missing: run make first"
names=(all)
for name in "$@"; do [ "$name" = all ] || names+=("$name"); done
[ $# -gt 0 ] || mapfile -t names < <(awk 'NF { print $1 }' <<<"$models")
for name in "${names[@]}"; do
    grep -q "^$name " <<<"$models" || fail "no model $name; there are$(awk 'NF { printf " %s", $1 }' <<<"$models")"
done
[ -n "${IMAGES:-}" ] || BUILD=$build tools/get-data.sh fashion-mnist "$images" idx >&2
logs=$build/ablations
mkdir -p "$out" "$logs"
done_steps() { "$build/model-info" "$1" 2>/dev/null | awk '$1 == "outer_steps" { print $2 }'; }

for name in "${names[@]}"; do
    model=$out/$name.safetensors
    [ "$(done_steps "$model")" != "$steps" ] || continue
    how=(-corpus "${CORPUS:-wide}" -images "$images" -episode "${EPISODE:-50:300}" -schedule cosine
        -without "$(awk -v name="$name" '$1 == name { print $2 }' <<<"$models")" -format hrnn-2 -out "$model")
    [ ! -e "$model.checkpoint" ] || how=(-resume "$model")
    echo "ablations: $name" >&2
    "$build/metatrain" "${how[@]}" -outer-steps "$steps" -log-every 10 >"$logs/$name.log" ||
        fail "$name: $(tail -n 1 "$logs/$name.log")"
    rm -f "$model.checkpoint"
done

data=${DATA:-mnist}
list='' table=$out/table.csv
for name in "${names[@]}"; do list+=${list:+,}$name=$out/$name.safetensors; done
BUILD=$build tools/get-data.sh "$data" "$build/data/$data-records" records >&2
"$build/compare" cfg/mnist-conv-relu.cfg "$build/data/$data-records/$data.data" -out "$build/figures/ablations" -resume \
    -optimizers "$list" -batches "${BATCHES:-1000}" -seeds "${SEEDS:-3}" -batch-sizes none >/dev/null
echo 'model,meta_loss,diverged,episodes,loss,held_out_loss,diverged_runs,runs' >"$table"
for name in "${names[@]}"; do
    awk -F, -v name="$name" -v from=$((steps * 2 / 3)) '
        FNR == NR { if (FNR > 1 && $1 > from) { sum += $3; ++n; episodes += $6; diverged += $7 } next }
        FNR == 1 { for (i = 1; i <= NF; ++i) c[$i] = i; next }
        $1 == name { printf "%s,%.4f,%d,%d,%s,%s,%s,%s\n", name, sum / n, diverged, episodes, $c["loss"],
                         $c["held_out_loss"], $c["diverged"], $c["runs"] }' \
        "$out/$name.csv" "$build/figures/ablations/summary.csv" >>"$table"
done
awk -F, 'NR == 1 { printf "%-20s %9s %8s %9s %8s %12s %10s\n", "without", "meta-loss", "against", "diverged", "ConvNet", "against all", "held-out"; next }
    NR == 2 { meta = $2; loss = $5 }
    { printf "%-20s %9.3f %+8.3f %8.2f%% %8.4f %11.2fx %10.4f\n", NR == 2 ? "nothing (all)" : $1 == "attention" ? "(with attention)" : $1,
          $2, $2 - meta, 100 * $3 / $4, $5, $5 / loss, $6 }' "$table" | tee "$out/table.txt"
