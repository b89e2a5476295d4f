#!/bin/bash
# The statistics of batch normalisation in the files of a training: those on the way hold the rolling ones, the last
# one those that are taken anew; `statistics` mends files that exist, also those of the stock host; a bold training
# is measured as good as it trains; biases of [batchnorm] go through `partial`; stops and mistakes.
set -euo pipefail

export OMP_WAIT_POLICY=passive # the networks are tiny
. tests/trainers.sh

make_images 8 20
figure() { sed -n "s/^Held out with the $1 statistics: $2 \([0-9.]*\).*/\1/p; s/^Held out with the $1 statistics: .*, $2 \([0-9.]*\).*/\1/p" "${3:-out}"; }
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 > 0 && a + 0 < b + 0) }'; }

# --- what `statistics` makes of the backup of the last batch is the last file, to the bit ---
echo save_every=5 >>train.data
for optimizer in '' optimizer=hrnn; do
    { net $optimizer precise_bn=6; classifier_layers; } >net.cfg
    rm -rf backup
    "$darknet" classifier train train.data net.cfg >out 2>err || wrong "training failed: $(tail -n 1 err)"
    ! cmp -s backup/net.backup backup/net.weights || wrong "$optimizer: the last file has the rolling statistics"
    "$darknet" classifier statistics train.data net.cfg backup/net.backup mended.weights -batches 6 >out 2>err ||
        wrong "statistics failed: $(tail -n 1 err)"
    cmp backup/net.weights mended.weights || wrong "$optimizer: a mended backup is another file than the last one"
    [ ! -e mended.weights.optimizer ] || wrong 'a mended file has the state of an optimizer'
    grep -qE '^0 +4 +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+$' out || wrong "does not say how far they moved: $(cat out)"
    [ -n "$(figure 'old' loss)" ] && [ -n "$(figure new loss)" ] || wrong "does not say what that did: $(cat out)"
    "$darknet" classifier valid train.data net.cfg mended.weights >valid.txt 2>err
    grep -q "top 1: $(figure new accuracy)," valid.txt || wrong "accuracy $(figure new accuracy), but \`valid\` says $(tail -n 1 valid.txt)"
done
{ net precise_bn=0; classifier_layers; } >off.cfg
"$darknet" classifier train train.data off.cfg >out 2>err || wrong "training failed: $(tail -n 1 err)"
cmp backup/off.backup backup/off.weights || wrong 'precise_bn=0: the last file has other statistics'

{ net optimizer=adam precise_bn=6; detector_layers; } | sed '0,/^activation/s//batch_normalize=1\n&/' >boxes.cfg
"$darknet" detector train train.data boxes.cfg >out 2>err || wrong "detector: $(tail -n 1 err)"
"$darknet" detector statistics train.data boxes.cfg backup/boxes.backup mended.weights -batches 6 >out 2>err ||
    wrong "detector statistics failed: $(tail -n 1 err)"
cmp backup/boxes_final.weights mended.weights || wrong 'detector: a mended backup is another file than the last one'
old=$(figure 'old' loss) new=$(figure new loss)
"$darknet" detector statistics train.data boxes.cfg mended.weights twice.weights -batches 6 >out 2>err ||
    wrong "detector statistics failed: $(tail -n 1 err)"
[ -n "$old" ] && [ "$old" != "$new" ] && [ "$(figure old loss)" = "$new" ] && [ "$(figure new loss)" = "$new" ] ||
    wrong "detector: held-out losses $old, $new, then $(figure old loss), $(figure new loss)"
cmp mended.weights twice.weights || wrong 'detector: statistics taken twice differ'
! cmp -s backup/boxes_final.weights backup/boxes.backup || wrong 'detector: the last file has the rolling statistics'

mkdir records
for file in data_batch_1 data_batch_2 test_batch; do
    LC_ALL=C awk -v n=${#file} 'BEGIN { for (r = 0; r < 12; ++r) { printf "%c", r % 2
        for (i = 0; i < 768; ++i) printf "%c", 1 + (i * (r + n)) % 100 } }' >records/$file.bin
done
printf '%s\n' train=records backup=backup save_every=5 >records.data
{ net optimizer=adam precise_bn=6; classifier_layers; } >records.cfg
"$darknet" cifar train records.cfg -data records.data >out 2>err || wrong "cifar: $(tail -n 1 err)"
"$darknet" cifar statistics records.cfg backup/records.backup mended.weights -data records.data -batches 6 >out 2>err ||
    wrong "cifar statistics failed: $(tail -n 1 err)"
cmp backup/records.weights mended.weights || wrong 'cifar: a mended backup is another file than the last one'
[ -n "$(figure new loss)" ] || wrong "cifar: does not measure test_batch.bin: $(cat out)"

printf 'to be or not to be %.0s' {1..40} >text
printf '%s\n' '[net]' batch=4 subdivisions=2 time_steps=3 inputs=256 learning_rate=.1 max_batches=6 seed=3 \
    precise_bn=6 optimizer=adam '[rnn]' output=8 batch_normalize=1 activation=tanh '[connected]' output=256 \
    activation=linear '[softmax]' >text.cfg
"$darknet" rnn train text.cfg -file text >out 2>err || wrong "rnn: $(tail -n 1 err)"
cp backup/text_final.weights first.weights
"$darknet" rnn train text.cfg -file text >out 2>err || wrong "rnn: $(tail -n 1 err)"
cmp backup/text_final.weights first.weights || wrong 'rnn: another last file the second time'
mkdir off
sed 's/^precise_bn=.*/precise_bn=0/' text.cfg >off/text.cfg
"$darknet" rnn train off/text.cfg -file text >out 2>err || wrong "rnn: $(tail -n 1 err)"
! cmp -s backup/text_final.weights first.weights || wrong 'rnn: the last file has the rolling statistics'

# --- a file of the stock host, whose statistics hold 1 % of each batch and the rest of nothing ---
stock=$build/stock/darknet
if [ -x "$stock" ]; then
    mkdir -p stock/backup
    { net; classifier_layers; } | sed '/^\[dropout\]/d; /^probability/d; /^seed/d; s/^max_batches=.*/max_batches=40/
        s/^learning_rate=.*/learning_rate=.05/; s/^\(angle\|hue\)=.*/\1=0/
        s/^\(saturation\|exposure\|aspect\)=.*/\1=1/; s/^\(min\|max\)_crop=.*/\1_crop=16/' >stock/net.cfg
    sed 's/^backup=.*/backup=stock\/backup/; s/^save_every.*//' train.data >stock/train.data
    "$stock" classifier train stock/train.data stock/net.cfg >stock/out 2>stock/err || wrong "the stock host: $(tail -n 1 stock/err)"
    file=stock/backup/net.weights
    "$darknet" classifier statistics stock/train.data stock/net.cfg "$file" stock/mended.weights >out 2>err ||
        wrong "a file of the stock host: $(tail -n 1 err)"
    below "$(figure new loss)" "$(figure old loss)" || wrong "a file of the stock host is no better: $(grep Held out)"
    cmp <(head -c 20 "$file") <(head -c 20 stock/mended.weights) || wrong 'another header than the stock host wrote'
    [ "$(stat -c %s "$file")" = "$(stat -c %s stock/mended.weights)" ] || wrong 'another size than the stock host wrote'
    # It computes with the mended file what we do.
    image=$(head -n 1 train.list)
    for program in "$stock" "$darknet"; do
        "$program" classifier predict stock/train.data stock/net.cfg stock/mended.weights "$image" 2>/dev/null |
            grep -oE '(apple|pear)|[0-9]+\.[0-9]+%' | grep -v '^$' | tail -n 4 | tr '\n' ' ' >"stock/$(basename "$(dirname "$program")").txt"
    done
    [ -s stock/stock.txt ] || wrong 'the stock host predicts nothing'
    cmp stock/stock.txt "stock/$(basename "$build").txt" || wrong "predictions differ: $(cat stock/*.txt)"
else
    echo "$stock is not built: skipped the file of the stock host"
fi

# --- biases of [batchnorm] go through `partial` ---
{ net optimizer=adam; printf '%s\n' '[convolutional]' filters=4 size=3 pad=1 activation=linear '[batchnorm]'
  classifier_layers; } >biased.cfg
"$darknet" classifier train train.data biased.cfg >out 2>err || wrong "training failed: $(tail -n 1 err)"
"$darknet" partial biased.cfg backup/biased.weights cut 2 >out 2>err || wrong "partial: $(tail -n 1 err)"
[ -s cut.optimizer ] || wrong 'partial has lost the biases of [batchnorm]'
"$darknet" classifier train train.data biased.cfg cut -clear >out 2>err || wrong "from a cut: $(tail -n 1 err)"
! grep -q 'biases of \[batchnorm\]' out || wrong "from a cut: $(grep biases out)"
rm cut.optimizer
"$darknet" classifier train train.data biased.cfg cut -clear >out 2>err || wrong "from a cut: $(tail -n 1 err)"
grep -q 'biases of \[batchnorm\].* start at 0' out || wrong 'does not say that biases are lost'

# --- stopped while the last statistics are taken: saved, and a resume ends as if it had not been ---
sed 's/^max_batches=.*/max_batches=2/; s/^precise_bn=.*/precise_bn=1000000/' net.cfg >stop.cfg
rm -rf backup
"$darknet" classifier train train.data stop.cfg >out 2>err &
process=$!
for ((i = 0; i < 600; ++i)); do if grep -q '^Statistics of batch normalisation: ' out; then break; fi; sleep .05; done
kill -INT $process
status=0
wait $process || status=$?
[ "$status" = 130 ] || wrong "exit status $status instead of 130 when stopped: $(tail -n 1 err)"
grep -q '^Stopped after batch 2; .* backup/stop.backup$' out || wrong "does not say where to resume: $(tail -n 1 out)"
[ ! -e backup/stop.weights ] || wrong 'half a measurement is in the last file'
sed -i 's/^precise_bn=.*/precise_bn=4/' stop.cfg
"$darknet" classifier train train.data stop.cfg backup/stop.backup >out 2>err || wrong "resume: $(tail -n 1 err)"
cp backup/stop.weights resumed.weights
"$darknet" classifier train train.data stop.cfg >out 2>err || wrong "training failed: $(tail -n 1 err)"
cmp backup/stop.weights resumed.weights || wrong 'a resume takes other statistics'

# --- mistakes ---
cp backup/stop.weights kept.weights
refused 'usage: ' classifier statistics train.data net.cfg kept.weights
refused 'kept.weights: is the file that is read' classifier statistics train.data net.cfg kept.weights ./kept.weights
cmp kept.weights backup/stop.weights || wrong 'the file that was read has changed'
refused 'absent.weights: cannot read' classifier statistics train.data net.cfg absent.weights o.weights
refused '-batches is -3' classifier statistics train.data net.cfg kept.weights o.weights -batches -3
head -c 300 kept.weights >short.weights
refused 'short.weights: truncated' classifier statistics train.data net.cfg short.weights o.weights
{ net; printf '%s\n' '[avgpool]' '[connected]' output=2 activation=linear '[softmax]'; } >plain.cfg
refused 'plain.cfg: no layer has batch normalisation' classifier statistics train.data plain.cfg kept.weights o.weights
refused 'no/such/place' classifier statistics train.data net.cfg kept.weights no/such/place/o.weights
[ ! -e o.weights ] || wrong 'a mistake left a file'
sed 's/^seed=/precise_bn=many\n&/' off.cfg | sed '/^precise_bn=0/d' >bad.cfg
refused 'bad.cfg:[0-9]+: precise_bn=many, expected a whole number' classifier train train.data bad.cfg
sed 's/^seed=/rolling_share=0\n&/' off.cfg >bad.cfg
refused 'bad.cfg:[0-9]+: rolling_share=0, expected a number from 0.000001 to 1' classifier train train.data bad.cfg

# --- a bold training is measured as good as it trains ---
if dpkg -s dataset-fashion-mnist >/dev/null 2>&1 && [ -x "$build/convert-images" ]; then
    own_build convert-images
    (cd "$root" && DOWNLOADS=$build/download tools/get-data.sh fashion-mnist "$work/fashion") >out 2>err ||
        wrong "Fashion-MNIST: $(tail -n 1 err)"
    grep -v '^backup' fashion/images.data >bold.data
    printf '%s\n' backup=backup valid_every=200 valid_images=2000 valid_log=valid.csv >>bold.data
    sed 's/^learning_rate=.*/learning_rate=1/; s/^max_batches=.*/max_batches=200/
        s/^\[net\]/&\noptimizer=sgd\nseed=1\noptimizer_log=log.csv/' "$root/cfg/fashion-resnet.cfg" >bold.cfg
    unset OMP_WAIT_POLICY
    "$darknet" classifier train bold.data bold.cfg >out 2>err || wrong "a bold training: $(tail -n 1 err)"
    trained=$(tail -n 20 log.csv | awk -F, '{ s += $3 } END { print s / NR }')
    measured=$(tail -n 1 valid.csv | cut -d , -f 3)
    echo "a bold training: training loss $trained, held out $measured"
    below "$measured" "$(awk -v t="$trained" 'BEGIN { print 1.25 * t }')" || wrong "held-out loss $measured, training loss $trained"
else
    echo 'the package dataset-fashion-mnist is not installed: skipped the bold training'
fi

[ "$failures" = 0 ]
