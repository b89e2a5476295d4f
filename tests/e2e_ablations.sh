#!/bin/bash
# tools/ablations.sh: makes the models, goes on where it was, and its table is that of the models' own logs.
set -euo pipefail

. tests/work.sh darknet metatrain model-info compare convert-images
ablations=$root/tools/ablations.sh
needs_package dataset-fashion-mnist
own_build darknet compare convert-images metatrain model-info hrnn.safetensors
export OUT=$work/models STEPS=30 EPISODE=5:9 CORPUS=paper:bowl SEEDS=1 BATCHES=20 DATA=fashion-mnist

! "$ablations" luck >out 2>err && [ "$(wc -l <err)" = 1 ] && grep -q 'no model luck; there are all attention' err ||
    wrong "an unknown part: $(cat err)"
"$ablations" products attention >out 2>err || wrong "$(tail -n 1 err)"
"$build/model-info" models/products.safetensors | grep -qE '^  without +attention,products$' || wrong 'products is not without them'
"$build/model-info" models/attention.safetensors | grep -qE '^  attention +1$' || wrong 'attention is without it'
before=$(cat models/*.safetensors | md5sum)
"$ablations" products attention >again 2>err || wrong "$(tail -n 1 err)"
cmp -s out again && [ "$(cat models/*.safetensors | md5sum)" = "$before" ] || wrong 'done twice'
for name in all products attention; do
    loss=$(awk -F, 'NR > 1 && $1 > 20 { print $3 }' models/$name.csv)
    grep -qE "^$name,$(printf '%.4f' "$loss"),[0-9]+,320," models/table.csv || wrong "$name: $(grep "^$name" models/table.csv), not $loss"
done
[ "$(awk 'NR == 2 { print $1, $2 }' out)" = 'nothing (all)' ] && [ "$(wc -l <out)" = 4 ] || wrong "the table: $(cat out)"

[ $failures = 0 ] || exit 1
echo "parts are left out, and what they are worth is written down"
