#!/bin/bash
# Trains networks with hrnn's full state and with optimizer_state=compact, from the same starts and on the
# same batches, and says how their training losses differ, beside how those of the seeds do.
#   tools/compact.sh [CFG:DATA...]   default: mnist-mlp-relu:mnist mnist-conv-bn:fashion-mnist
#                                    cifar-conv:cifar-10; cfgs of cfg/, data of tools/get-data.sh
#   MODEL=weights/hrnn.safetensors  BATCHES=1000  SEEDS=5  JOBS=cores
#   BUILD=build   BUILD/compact/CFG has the report: both states in one picture; an interrupted run goes on
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
model=${MODEL:-weights/hrnn.safetensors}
networks=("$@")
[ $# -gt 0 ] || networks=(mnist-mlp-relu:mnist mnist-conv-bn:fashion-mnist cifar-conv:cifar-10)

fail() {
    echo "compact: $1" >&2
    exit 1
}

# train CFG DATA OUT OPTIONS...
train() {
    local cfg=$1 data=$2 out=$3
    shift 3
    "$build/compare" "$cfg" "$data" -out "$out" -resume -batches "${BATCHES:-1000}" \
        -seeds "${SEEDS:-5}" -batch-sizes none ${JOBS:+-jobs "$JOBS"} "$@" >"$out.txt" ||
        fail "$cfg: see the line above"
}

# The losses of runs.csv, by the names of its columns; those of a seed are a pair. A mean is of what did not
# diverge.
row() {
    awk -F, -v name="$1" '
        function deviation(sum, square, n) {
            x = square - sum ^ 2 / n
            return n < 2 || x < 0 ? 0 : sqrt(x / (n - 1)) }
        FNR == 1 { for (i = 1; i <= NF; ++i) column[$i] = i; next }
        { label = $column["optimizer"]; seed = $column["seed"]
          bytes[label] = $column["state_bytes"] / $column["parameters"]
          if ($column["outcome"] != "finished") { ++diverged; next }
          x = $column["loss"]; ++n[label]; sum[label] += x; square[label] += x * x; of[label, seed] = x; seeds[seed] }
        END {
            for (seed in seeds)
                if (("full", seed) in of && ("compact", seed) in of) {
                    d = of["compact", seed] - of["full", seed]; ++pairs; total += d; squares += d * d }
            if (!pairs) { printf "%-16s no seed finished with both; %d diverged\n", name, diverged; exit }
            printf "%-16s %8.4f %8.4f %8.4f %8.4f %+9.4f %8.4f %6.1f %7.1f %9d\n", name, sum["full"] / n["full"],
                deviation(sum["full"], square["full"], n["full"]), sum["compact"] / n["compact"],
                deviation(sum["compact"], square["compact"], n["compact"]), total / pairs,
                deviation(total, squares, pairs) / sqrt(pairs), bytes["full"], bytes["compact"], diverged }' "$2"
}

[ -x "$build/compare" ] || fail "$build/compare is missing: run make first"
[ "${SEEDS:-5}" -gt 1 ] 2>/dev/null || fail "SEEDS: found ${SEEDS:-}, expected a number from 2"
mkdir -p "$build/compact"
for network in "${networks[@]}"; do
    case $network in ?*:?*) ;; *) fail "found \"$network\", expected CFG:DATA, as mnist-mlp-relu:mnist" ;; esac
    [ -r "cfg/${network%%:*}.cfg" ] || fail "cfg/${network%%:*}.cfg: cannot read it"
done
echo "$model: training loss over the last tenth of ${BATCHES:-1000} batches, ${SEEDS:-5} seeds: mean and"
echo "deviation; the mean difference of a seed and its standard error; bytes of state a parameter"
printf '%-16s %8s %8s %8s %8s %9s %8s %6s %7s %9s\n' network full '' compact '' difference '' full \
    compact diverged
for network in "${networks[@]}"; do
    cfg=${network%%:*} set=${network#*:}
    data=$build/data/$set-records out=$build/compact/$cfg
    BUILD=$build tools/get-data.sh "$set" "$data" records >&2
    sed '/^optimizer_state/d' "cfg/$cfg.cfg" >"$out-full.cfg"
    sed '0,/^\[net/s/^\[net.*/&\noptimizer_state=compact/' "$out-full.cfg" >"$out.cfg"
    grep -q '^optimizer_state=compact$' "$out.cfg" || fail "cfg/$cfg.cfg: has no line [net]"
    train "$out-full.cfg" "$data/$set.data" "$out-full" -optimizers "full=$model" -rates full=own
    train "$out.cfg" "$data/$set.data" "$out" -optimizers "compact=$model" -rates compact=own \
        -baseline "$out-full"
    row "$cfg" "$out/runs.csv"
done
