#!/bin/bash
# Judges an hrnn model on the networks of the evaluation, against tuned baselines that are kept.
#   tools/judge.sh MODEL.safetensors [NETWORK...]   trains with the model, prints a table; default: the networks
#                                                   that have baselines
#   tools/judge.sh starts MODEL [NETWORK...]        trains from each of RATES instead, and prints the losses and which
#                                                   runs diverged; default: all networks but cifar-resnet20
#   RATES=1e-6,1e-5,1e-4,1e-3,1e-2
#   tools/judge.sh baselines [NETWORK...]           measures sgd, adam and rmsprop over the whole grid
#                                                   and keeps their results in cfg/baselines
#   BATCHES=1000    of a run
#   SEEDS=3         SCAN_SEEDS=$SEEDS (see build/compare -help)   JOBS=cores
#   BASELINES=cfg/baselines   where they are kept
#   BUILD=build     reports go to BUILD/judge/NAME/NETWORK-BATCHES, and an interrupted one goes on
set -euo pipefail
starts=0
[ "${1:-}" != starts ] || { starts=1; shift; }
[ ! -f "${1:-}" ] || set -- "$(realpath "$1")" "${@:2}"
cd "$(dirname "$0")/.."

build=${BUILD:-build}
batches=${BATCHES:-1000}
seeds=${SEEDS:-3}
rates=${RATES:-1e-6,1e-5,1e-4,1e-3,1e-2}
baselines=${BASELINES:-cfg/baselines}
# name, cfg, data; the corpus of meta-training holds none of them at its own size
networks="
mnist-mlp-relu       mnist-mlp-relu      mnist
mnist-mlp-sigmoid    mnist-mlp-sigmoid   mnist
mnist-conv-relu      mnist-conv-relu     mnist
mnist-conv-sigmoid   mnist-conv-sigmoid  mnist
fashion-mlp-relu     mnist-mlp-relu      fashion-mnist
fashion-mlp-sigmoid  mnist-mlp-sigmoid   fashion-mnist
fashion-conv-relu    mnist-conv-relu     fashion-mnist
fashion-conv-sigmoid mnist-conv-sigmoid  fashion-mnist
fashion-conv-bn      mnist-conv-bn       fashion-mnist
cifar-conv           cifar-conv          cifar-10
cifar-resnet20       cifar-resnet20      cifar-10
"

fail() {
    echo "judge: $1" >&2
    exit 1
}

[ $# -gt 0 ] || fail "usage: judge.sh [starts] MODEL.safetensors|baselines [NETWORK...]"
what=$1
shift
for number in "$batches" "$seeds"; do
    case $number in '' | *[!0-9]* | 0*) fail "BATCHES and SEEDS: found $number, expected a number from 1" ;; esac
done
for name in "$@"; do
    grep -q "^$name " <<<"$networks" ||
        fail "no network $name; there are$(awk 'NF { printf " %s", $1 }' <<<"$networks")"
done
if [ "$what" = baselines ]; then
    label=baselines
else
    [ -r "$what" ] || fail "$what: cannot read it"
    label=$(basename "$what" .safetensors)
fi
[ -x "$build/compare" ] || fail "$build/compare is missing: run make first"

# compare_on CFG DATA OUT OPTIONS...
compare_on() {
    local cfg=cfg/$1.cfg data=$build/data/$2-records out=$3
    shift 3
    BUILD=$build tools/get-data.sh "$(basename "$data" -records)" "$data" records
    mkdir -p "$(dirname "$out")"
    "$build/compare" "$cfg" "$data/$(basename "$data" -records).data" -out "$out" -resume \
        -batches "$batches" -seeds "$seeds" -batch-sizes none ${JOBS:+-jobs "$JOBS"} "$@" >"$out.txt" ||
        fail "$cfg: see the line above"
}

# A row of the table from a report's summary.csv, by the names of its columns.
row() {
    awk -F, -v name="$1" -v label="$label" '
        function number(x) { return x == "" ? "-" : x ~ /inf|nan/ ? x : sprintf("%.4f", x) }
        function ratio(a, b) { return a + 0 > 0 && b + 0 > 0 && a != "inf" && b != "inf" ? sprintf("%.3f", a / b) : "-" }
        FNR == 1 { for (i = 1; i <= NF; ++i) column[$i] = i; next }
        { rate[$1] = $column["best_rate"]; loss[$1] = $column["loss"]; held[$1] = $column["held_out_loss"]
          usual[$1] = $column["default_loss"]; diverged[$1] = $column["diverged"] "/" $column["runs"]
          speed[$1] = $column["speedup"] }
        END { printf "%-21s %8s %8s %-9s %9s %6s %6s %7s %8s %8s %9s\n", name, number(loss[label]), number(loss["adam"]),
                  "(" sprintf("%.3g", rate["adam"]) ")", number(usual["adam"]), ratio(loss[label], loss["adam"]),
                  ratio(loss[label], usual["adam"]), speed[label] + 0 == 0 ? "never" : sprintf("%.2f", speed[label]),
                  number(held[label]), number(held["adam"]), diverged[label] }' "$2"
}

# The losses of a report by starting rate, each the mean over seeds, and the highest over the lowest.
starts_row() {
    awk -F, -v name="$1" -v rates="$rates" '
        FNR == 1 { for (i = 1; i <= NF; ++i) column[$i] = i; next }
        { ++runs; rate = $column["rate"] + 0; sum[rate] += $column["loss"]; ++n[rate]
          if ($column["outcome"] == "diverged") { ++diverged; dead[rate] = 1 } }
        END { printf "%-21s", name
              count = split(rates, list, ",")
              for (i = 1; i <= count; ++i) {
                  rate = list[i] + 0
                  if (dead[rate] || !n[rate]) { printf " %9s", "diverged"; continue }
                  mean = sum[rate] / n[rate]
                  if (!low || mean < low) low = mean
                  if (mean > high) high = mean
                  printf " %9.4f", mean }
              printf " %8s %9s\n", low ? sprintf("%.3f", high / low) : "-", diverged + 0 "/" runs }' "$2"
}

report=$build/judge/$label
mkdir -p "$report"
if [ $starts = 1 ]; then
    [ "$label" != baselines ] || fail "baselines have no starting rates"
    table=$report/starts-$batches.txt
    [ $# -gt 0 ] || networks=$(grep -v '^cifar-resnet20 ' <<<"$networks")
    {
        echo "$what: training loss over the last tenth of $batches batches by starting rate, mean of $seeds seeds"
        printf '%-21s' network
        printf ' %9s' ${rates//,/ } high/low diverged
        echo
    } | tee "$table"
elif [ "$label" != baselines ]; then
    table=$report/table-$batches.txt
    {
        echo "$what: training loss over the last tenth of $batches batches, mean of $seeds seeds"
        printf '%-21s %8s %8s %-9s %9s %6s %6s %7s %8s %8s %9s\n' network model adam '(best)' 'adam 1e-3' ratio \
            ratio speedup held-out adam diverged
    } | tee "$table"
fi
while read -r name cfg data; do
    [ -n "$name" ] || continue
    if [ $# -gt 0 ]; then
        case " $* " in *" $name "*) ;; *) continue ;; esac
    fi
    kept=$baselines/$name-$batches
    out=$report/$name-$batches
    if [ $starts = 1 ]; then
        out=$report/starts-$name-$batches
        compare_on "$cfg" "$data" "$out" -optimizers "$label=$what" -rates "$label=$rates"
        starts_row "$name" "$out/runs.csv" | tee -a "$table"
    elif [ "$label" = baselines ]; then
        compare_on "$cfg" "$data" "$out" -optimizers sgd,adam,rmsprop ${SCAN_SEEDS:+-scan-seeds "$SCAN_SEEDS"}
        mkdir -p "$kept"
        cp "$out/runs.csv" "$out/curves.csv" "$kept"
        echo "$name: kept in $kept"
    else
        if ! [ -r "$kept/runs.csv" ]; then
            [ $# = 0 ] || fail "$kept: no baselines of $batches batches; BATCHES=$batches tools/judge.sh baselines $name"
            echo "judge: $name is left out: $kept holds no baselines" >&2
            continue
        fi
        compare_on "$cfg" "$data" "$out" -optimizers "$label=$what" -baseline "$kept"
        row "$name" "$out/summary.csv" | tee -a "$table"
    fi
done <<<"$networks"
