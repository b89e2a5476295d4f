#!/bin/bash
# tools/judge.sh: keeps baselines, puts a model beside them without training those again, and names what is missing.
set -euo pipefail

. tests/trainers.sh
judge=$root/tools/judge.sh
needs_package dataset-fashion-mnist
own_build darknet compare convert-images hrnn.safetensors
export BASELINES=$work/kept BATCHES=20 SEEDS=1

refused() { # PATTERN COMMAND...
    local pattern=$1
    shift
    ! "$@" >out 2>err || wrong "accepted: $*"
    [ "$(wc -l <err)" = 1 ] && grep -q -- "$pattern" err || wrong "$*: $(cat err)"
}
refused 'usage' "$judge"
refused 'nowhere.safetensors: cannot read it' "$judge" nowhere.safetensors
refused 'no network mnist; there are mnist-mlp-relu' "$judge" "$HRNN_WEIGHTS" mnist
BATCHES=1e3 refused 'found 1e3, expected a number from 1' "$judge" baselines
refused 'kept/fashion-mlp-relu-20: no baselines of 20 batches' "$judge" "$HRNN_WEIGHTS" fashion-mlp-relu

"$judge" baselines fashion-mlp-relu >out 2>err || wrong "baselines: $(tail -n 1 err)"
[ "$(wc -l <kept/fashion-mlp-relu-20/runs.csv)" = 34 ] || wrong 'not 3 x 11 baselines'
cp "$HRNN_WEIGHTS" mine.safetensors
"$judge" mine.safetensors fashion-mlp-relu >out 2>err || wrong "judge: $(tail -n 1 err)"
[ "$(find own/judge/mine/fashion-mlp-relu-20/runs -name loss.csv | wc -l)" = 1 ] || wrong 'baselines were trained again'

[ "$(grep -c 'is left out' err)" = 0 ] || wrong 'a network that was asked for is left out'
"$judge" mine.safetensors >out2 2>err || wrong "judge on all networks: $(tail -n 1 err)"
cmp -s out out2 && [ "$(grep -c 'is left out: .* holds no baselines' err)" = 10 ] || wrong "judge on all networks: $(cat err)"

# The row of the table: the model's loss, the best adam's by held-out loss, adam's at 1e-3, and their ratios.
awk -F, '{ print $7, $8, $13, $14 }' own/judge/mine/fashion-mlp-relu-20/runs.csv >runs
expected=$(awk '$1 == "mine" { mine = $3 }
    $1 == "adam" && (!best || $4 < best) { best = $4; loss = $3 }
    $1 == "adam" && $2 == 0.001 { usual = $3 }
    END { printf "%.4f %.4f %.4f %.3f %.3f", mine, loss, usual, mine / loss, mine / usual }' runs)
found=$(awk '/^fashion-mlp-relu/ { print $2, $3, $5, $6, $7 }' out)
[ "$found" = "$expected" ] || wrong "the table says $found, the runs $expected"

# Starting rates: their losses, and the highest over the lowest.
RATES=1e-6,1e-2 "$judge" starts mine.safetensors fashion-mlp-relu >out 2>err || wrong "starts: $(tail -n 1 err)"
expected=$(awk -F, 'NR > 1 { print $8, $13 }' own/judge/mine/starts-fashion-mlp-relu-20/runs.csv | sort -g | cut -d' ' -f2 |
    awk '{ x[NR] = $1 } END { ratio = x[1] / x[2]; if (ratio < 1) ratio = 1 / ratio; printf "%.4f %.4f %.3f 0/2", x[1], x[2], ratio }')
found=$(awk '/^fashion-mlp-relu/ { print $2, $3, $4, $5 }' out)
[ "$found" = "$expected" ] || wrong "the starts are $found, expected $expected"
refused 'baselines have no starting rates' "$judge" starts baselines

[ $failures = 0 ] || exit 1
echo "a model is judged by kept baselines"
