#!/bin/bash
# build/metatrain on Darknet cfgs: from images and from records, beside a corpus, on; the same bits with 1 and 2
# threads and after a resume; what is wrong with a cfg or its data is one line.
set -euo pipefail

. tests/trainers.sh

train=$build/metatrain info=$build/model-info
digest() { "$info" "$1" | sed -n 's/.*digest \(.*\)/\1/p'; }

make_images 12 18
mkdir records
LC_ALL=C awk 'BEGIN { for (i = 0; i < 30; ++i) { printf "%c", 1 + i % 2 * 127;
    for (k = 0; k < 192; ++k) printf "%c", 1 + (i * 7 + k * (2 + i % 2)) % 126 } }' | tr '\001\200' '\000\001' \
    >records/data_batch_1.bin
echo "train=records" >records.data
{ net; classifier_layers; } >images.cfg
printf '%s\n' '[net]' batch=5 width=8 height=8 channels=3 '[connected]' output=6 activation=tanh '[connected]' \
    output=2 activation=linear '[softmax]' >records.cfg
both=(-cfg images.cfg -data train.data -cfg records.cfg -data records.data)
options=(-pairs 3 -episode 3:9 -truncation 4 -unroll-tail 2 -unrolls 2 -second-derivatives 0 -log-every 1)

for estimator in es pes bptt; do
    for threads in 1 2; do
        "$train" "${both[@]}" "${options[@]}" -estimator $estimator -threads $threads -outer-steps 3 \
            -out $estimator-$threads.safetensors >out 2>err || wrong "$estimator: $(tail -n 1 err)"
        [ ! -s err ] || wrong "$estimator: says $(head -n 1 err)"
    done
    [ "$(digest $estimator-1.safetensors)" = "$(digest $estimator-2.safetensors)" ] ||
        wrong "$estimator: other bits with 2 threads"
    grep -q ' | .*\(images\|records\) -\{0,1\}[0-9.]*' out || wrong "$estimator: $(tail -n 1 out)"
    "$train" "${both[@]}" "${options[@]}" -estimator $estimator -outer-steps 1 -out cut.safetensors >out 2>err
    "$train" -resume cut.safetensors -outer-steps 3 >out 2>err || wrong "$estimator, resume: $(tail -n 1 err)"
    [ "$(digest $estimator-1.safetensors)" = "$(digest cut.safetensors)" ] || wrong "$estimator: other bits resumed"
    rm -f cut.*
done
"$info" es-1.safetensors >out
grep -qF -e '-corpus none -' out || wrong 'the recipe names a corpus'
grep -qF -e '-cfg images.cfg,records.cfg -data train.data,records.data -' out || wrong 'the recipe names no cfg'

"$train" "${both[@]}" -corpus paper:bowl "${options[@]}" -pairs 12 -outer-steps 3 -out mixed.safetensors >out 2>err ||
    wrong "beside a corpus: $(tail -n 1 err)"
grep -q ' bowl [-0-9.]*' out && grep -q '\(images\|records\) [-0-9.]*' out || wrong "beside a corpus: $(tail -n 1 out)"

# --- what is refused ---
refused() {  # WHAT MESSAGE OPTIONS...: one line, which may be the host's
    local what=$1 message=$2 status=0
    shift 2
    rm -f refused.*
    "$train" "$@" -out refused.safetensors >out 2>err || status=$?
    [ $status = 1 ] || wrong "$what: exit status $status"
    [ "$(wc -l <err)" = 1 ] && grep -q "$message" err || wrong "$what: $(cat err)"
}
refused 'a cfg without data' '1 -cfg and 0 -data' -cfg images.cfg
refused 'no such cfg' 'nothing.cfg' -cfg nothing.cfg -data train.data
refused 'no such data' 'nothing.data' -cfg images.cfg -data nothing.data
refused 'a cfg twice' 'given twice' -cfg images.cfg -data train.data -cfg images.cfg -data train.data
refused 'second derivatives' 'no Hessian-vector product' -cfg images.cfg -data train.data -estimator bptt
sed 's/filters=4/filters=x/' images.cfg >bad.cfg
refused 'a cfg that cannot be' 'bad.cfg:' -cfg bad.cfg -data train.data
sed 's/classes=2/classes=3/' train.data >bad.data
refused 'too many classes' 'found 2 labels, expected at least 3\|classes=3' -cfg images.cfg -data bad.data
{ cat train.list; echo "$PWD/images/none_apple.ppm"; } >bad.list
sed 's/train=.*/train=bad.list/' train.data >bad.data
refused 'an image that is not there' 'bad.list:13: .*none_apple' -cfg images.cfg -data bad.data
echo "train=bad" >bad.data
mkdir bad
head -c 500 records/data_batch_1.bin >bad/data_batch_1.bin
refused 'records cut short' 'bad/data_batch_1.bin' -cfg records.cfg -data bad.data
echo 'no image' >images/none_apple.ppm
echo "$PWD/images/none_apple.ppm" >bad.list
sed 's/train=.*/train=bad.list/' train.data >bad.data
refused 'an image that is none' 'none_apple' -cfg images.cfg -data bad.data -outer-steps 3
echo 'surprise=1' >>records.cfg
"$train" -cfg records.cfg -data records.data "${options[@]}" -outer-steps 1 -threads 2 -out warned.safetensors >out 2>err
[ "$(grep -c surprise err)" = 1 ] || wrong "an unused option: $(cat err)"

[ "$failures" = 0 ] && echo 'Darknet cfgs are problems to meta-train on'
[ "$failures" = 0 ]
