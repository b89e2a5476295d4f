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

# The losses of runs.csv, by the names of its columns.
row() {
    awk -F, -v name="$1" '
        FNR == 1 { for (i = 1; i <= NF; ++i) column[$i] = i; next }
        { label = $column["optimizer"]; x = $column["loss"]; ++n[label]; sum[label] += x; square[label] += x * x
          of[label, $column["seed"]] = x; bytes[label] = $column["state_bytes"] / $column["parameters"]
          if ($column["outcome"] == "diverged") ++diverged[label] }
        function mean(label) { return sum[label] / n[label] }
        function deviation(label) {
            return sqrt((square[label] - sum[label] ^ 2 / n[label]) / (n[label] - 1)) }
        END { difference = mean("compact") - mean("full")
              printf "%-16s %8.4f %8.4f %8.4f %8.4f %+9.4f %+8.2f %6.1f %6.1f %9d\n", name, mean("full"),
                  deviation("full"), mean("compact"), deviation("compact"), difference,
                  difference / deviation("full"), bytes["full"], bytes["compact"],
                  diverged["full"] + diverged["compact"] }' "$2"
}

[ -x "$build/compare" ] || fail "$build/compare is missing: run make first"
[ "${SEEDS:-5}" -gt 1 ] 2>/dev/null || fail "SEEDS: found ${SEEDS:-}, expected a number from 2"
mkdir -p "$build/compact"
echo "$model: training loss over the last tenth of ${BATCHES:-1000} batches, ${SEEDS:-5} seeds: mean and"
echo "standard deviation; the difference, also in standard deviations; bytes of state a parameter"
printf '%-16s %8s %8s %8s %8s %9s %8s %6s %6s %9s\n' network full '' compact '' difference '' full \
    compact diverged
for network in "${networks[@]}"; do
    cfg=${network%%:*} set=${network#*:}
    [ -r "cfg/$cfg.cfg" ] || fail "cfg/$cfg.cfg: cannot read it"
    data=$build/data/$set-records out=$build/compact/$cfg
    BUILD=$build tools/get-data.sh "$set" "$data" records
    sed '/^\[net\]/a optimizer_state=compact' "cfg/$cfg.cfg" >"$out.cfg"
    train "cfg/$cfg.cfg" "$data/$set.data" "$out-full" -optimizers "full=$model" -rates full=own
    train "$out.cfg" "$data/$set.data" "$out" -optimizers "compact=$model" -rates compact=own \
        -baseline "$out-full"
    row "$cfg" "$out/runs.csv"
done
