#!/bin/bash
# Measuring on held-out images: training is to the bit what it is without, the figures are those of `classifier
# valid` and of the definition, tables survive a resume, mistakes get one line. Likewise cifar's records of any
# size, label_smoothing= and `classifier check`.
set -euo pipefail

export OMP_WAIT_POLICY=passive # the networks are tiny
. tests/trainers.sh

make_images 8 20
head -n 7 train.list >held.list # batches of 4: the last one is padded
with() {  # DATA OPTIONS...: a data cfg with options beside those of every run
    sed '/^valid=/d' train.data >"$1.data"
    printf '%s\n' valid=held.list "${@:2}" >>"$1.data"
}

# run NAME COMMAND...: into NAME/, with the losses (all columns but the times) and weights of a training
run() {
    local name=$1
    shift
    rm -rf backup log.csv
    "$darknet" "$@" >out 2>err || { wrong "$name: $(tail -n 1 err)"; return; }
    mkdir -p "$name"
    mv backup "$name"
    cut -d , -f 1-5 log.csv >"$name/losses"
}
same_training() {
    cmp "$1/losses" "$2/losses" || wrong "$2: other losses than $1"
    local file
    for file in "$1"/backup/*; do cmp "$file" "$2/backup/${file##*/}" || wrong "$2: other ${file##*/} than $1"; done
}
value() { awk -F, -v batch="$1" -v column="$2" '$1 == batch { print $column }' "${3:-valid.csv}"; }
batches() { sed 1d valid.csv | cut -d , -f 1 | tr '\n' ' '; }

# --- bits, and the figures of `classifier valid` ---
with plain
with measured valid_every=2 valid_log=valid.csv
for optimizer in '' optimizer=hrnn; do
    { net $optimizer optimizer_log=log.csv subdivisions=2 policy=random random=0; classifier_layers; } |
        sed '0,/^subdivisions/{/^subdivisions/d}' >net.cfg
    run "plain$optimizer" classifier train plain.data net.cfg
    run "measured$optimizer" classifier train measured.data net.cfg
    same_training "plain$optimizer" "measured$optimizer"
    [ "$(head -n 1 valid.csv)" = batch,images,loss,accuracy,seconds ] || wrong "the header is $(head -n 1 valid.csv)"
    [ "$(batches)" = '0 2 4 5 ' ] || wrong "measured after batches $(batches)"
    weights=measured$optimizer/backup/net.weights
    "$darknet" classifier valid measured.data net.cfg "$weights" >out 2>err
    top=$(sed -n 's/^Accuracy on 7 images: top 1: \([0-9.]*\),.*/\1/p' out)
    [ "$(printf %.6f "$(value 5 4)")" = "$top" ] || wrong "accuracy $(value 5 4), but \`valid\` says $top"
    # "path, class, p of class 0, p of class 1": the printed p have six digits
    loss=$(awk -F', ' 'NF == 5 { s -= log($2 == 0 ? $3 : $4); ++n } END { print s / n }' out)
    awk -v a="$(value 5 3)" -v b="$loss" 'BEGIN { exit !(a > 0 && (a - b)^2 < 1e-8 * (1 + a * a)) }' ||
        wrong "loss $(value 5 3), but by the probabilities $loss"
done

cut -d , -f 1-4 valid.csv >whole

# --- random=1 trains on other sizes than it is measured on ---
{ net optimizer=adam optimizer_log=log.csv random=1; classifier_layers; } |
    sed '/^\[dropout\]/d; /^probability/d; s/^max_batches=.*/max_batches=2/; s/^batch=.*/batch=2/' >sizes.cfg
run plain-sizes classifier train plain.data sizes.cfg
run measured-sizes classifier train measured.data sizes.cfg
same_training plain-sizes measured-sizes
[ "$(sed -n '/^Resizing/{n;p}' out | head -n 1)" -gt 16 ] || wrong 'random=1 did not change the size'
"$darknet" classifier valid measured.data sizes.cfg measured-sizes/backup/sizes.weights >out 2>err
top=$(sed -n 's/^Accuracy on 7 images: top 1: \([0-9.]*\),.*/\1/p' out)
[ "$(printf %.6f "$(value 2 4)")" = "$top" ] || wrong "random=1: accuracy $(value 2 4), but \`valid\` says $top"

# --- a part of the images: 0, 2 and 4 of 7 ---
with part valid_every=5 valid_log=part.csv valid_images=3
run part classifier train part.data net.cfg
[ "$(value 5 2 part.csv)" = 3 ] || wrong "measured $(value 5 2 part.csv) images, expected 3"
sed -n '1p; 3p; 5p' held.list >three.list
with three valid_every=5 valid_log=three.csv
sed -i 's/^valid=.*/valid=three.list/' three.data
run three classifier train three.data net.cfg
[ "$(cut -d , -f 1-4 part.csv)" = "$(cut -d , -f 1-4 three.csv)" ] || wrong 'valid_images=3 takes other images'

# --- a resume, also from a batch that was not measured: one table, that of a whole run ---
sed -i 's/^valid_every=.*/&\nsave_every=1/' measured.data
mkdir short
for stop in 3 4; do
    sed "s/^max_batches=.*/max_batches=$stop/" net.cfg >short/net.cfg
    rm -f valid.csv
    run "stop$stop" classifier train measured.data short/net.cfg
    [ $stop = 4 ] || sed -i '/^3,/d' valid.csv # as a signal leaves it: not due
    printf '9,7,1,1,1\n10,7' >>valid.csv # of batches that were lost
    "$darknet" classifier train measured.data net.cfg "stop$stop/backup/net.backup" >out 2>err ||
        wrong "resume: $(tail -n 1 err)"
    cut -d , -f 1-4 valid.csv | cmp - whole || wrong "after a resume at batch $stop the table is $(cat valid.csv)"
done
"$darknet" classifier train measured.data net.cfg backup/net.weights >out 2>err
cut -d , -f 1-4 valid.csv | cmp - whole || wrong "nothing to train, and the table is $(cat valid.csv)"
run again classifier train measured.data net.cfg # afresh: the old rows go
cut -d , -f 1-4 valid.csv | cmp - whole || wrong "a fresh start leaves the table $(cat valid.csv)"


# --- a signal while it measures: stopped at once, saved, measured after the resume ---
awk '{ line[NR] = $0 } END { for (i = 0; i < 6000; ++i) for (j = 1; j <= NR; ++j) print line[j] }' held.list >long.list
with long valid_every=3 valid_log=long.csv
sed -i 's/^valid=.*/valid=long.list/' long.data
rm -rf backup
: >out
"$darknet" classifier train long.data net.cfg >out 2>err &
process=$!
for ((i = 0; i < 300; ++i)); do if [ -s long.csv ]; then break; fi; sleep .02; done
kill -TERM $process
status=0
wait $process || status=$?
[ "$status" = 143 ] || wrong "exit status $status instead of 143: $(tail -n 1 err)"
grep -q '^Stopped after batch 0; .* backup/net.backup$' out || wrong "does not say where to resume: $(tail -n 1 out)"
[ "$(wc -l <long.csv)" = 1 ] || wrong 'half a measurement is in the table'
cp long.csv valid.csv
"$darknet" classifier train measured.data net.cfg backup/net.backup >out 2>err || wrong "resume: $(tail -n 1 err)"
cut -d , -f 1-4 valid.csv | cmp - whole || wrong "after a stop while measuring the table is $(cat valid.csv)"

# --- cifar: records of 28x28 with one channel, of another size than CIFAR-10's ---
# record CLASS PHASE: 785 bytes
record() {
    LC_ALL=C awk -v class="$1" -v phase="$2" 'BEGIN {
        printf "%c", class + 0
        for (i = 0; i < 784; ++i) printf "%c", 1 + (i * phase) % 90
    }'
}
mkdir -p digits
for b in 1 2 10; do for i in 0 1 2 3; do record $(((b + i) % 10)) $((b * i + 1)); done >digits/data_batch_$b.bin; done
for i in 0 1 2 3 4 5 6; do record "$i" $((i + 2)); done >digits/test_batch.bin
{ net optimizer=hrnn optimizer_log=log.csv width=28 height=28 channels=1
  printf '%s\n' '[connected]' output=12 activation=relu '[dropout]' probability=.2 '[connected]' output=10 \
      activation=linear '[softmax]'; } | sed '/^\(width\|height\)=16$/d; /^channels=3$/d' >digits.cfg
digits() { printf '%s\n' train=digits backup=backup "${@:2}" >"$1.data"; }
digits smooth
digits measured valid_every=1 valid_log=valid.csv
run digits cifar train digits.cfg -data smooth.data
run measured-digits cifar train digits.cfg -data measured.data
same_training digits measured-digits
[ "$(batches)" = '0 1 2 3 4 5 ' ] || wrong "cifar measured after batches $(batches)"
"$darknet" cifar test digits.cfg measured-digits/backup/digits.weights -data measured.data >out 2>err
top=$(sed -n 's/^top1: \([0-9.]*\),.* 7 images$/\1/p' out)
[ "$(printf %.6f "$(value 5 4)")" = "$top" ] || wrong "accuracy $(value 5 4), but \`cifar test\` says $top"

# --- label_smoothing=0: what is printed is the cross-entropy of the training images ---
cp digits/test_batch.bin saved.bin
record 3 5 >one.bin
digits plain label_smoothing=0 valid_every=1 valid_log=valid.csv valid=one/data_batch_1.bin
mkdir one && mv one.bin one/data_batch_1.bin
sed -i 's/^train=.*/train=one/' plain.data
{ net optimizer=sgd optimizer_log=log.csv width=28 height=28 channels=1
  printf '%s\n' '[connected]' output=10 activation=linear '[softmax]'; } |
    sed '/^\(width\|height\)=16$/d; /^channels=3$/d; s/^learning_rate=.*/learning_rate=1e-2/' >one.cfg
run one cifar train one.cfg -data plain.data
# one image, no randomness: a batch's loss is that of the measurement before it
for batch in 1 3 5; do
    awk -v a="$(value $batch 3 log.csv)" -v b="$(value $((batch - 1)) 3)" 'BEGIN { exit !((a - b)^2 < 1e-10) }' ||
        wrong "batch $batch: trained on $(value $batch 3 log.csv), measured $(value $((batch - 1)) 3)"
done
sed -i '/^label_smoothing/d' plain.data
run softened cifar train one.cfg -data plain.data
awk -v a="$(value 5 3 log.csv)" -v b="$(value 4 3)" 'BEGIN { exit !((a - b)^2 > 1e-6) }' ||
    wrong 'without label_smoothing=0 the labels are not smoothed'

# --- the columns of optimizer_log ---
awk -F, 'NR == 1 { bad = $0 != "batch,images,loss,average,rate,seconds,update" }
    NR > 1 && !($7 > 0 && $7 < $6) { bad = 1 } END { exit bad }' log.csv || wrong "optimizer_log: $(cat log.csv)"

# --- mistakes: one line, status 1, nothing trained ---
bad() {  # PATTERN DATA OPTIONS...
    with bad "${@:2}"
    refused "$1" classifier train bad.data net.cfg
}
bad 'bad.data: valid_every=-1, expected a whole number from 0' valid_every=-1
bad 'bad.data: valid_every=often, expected a whole number' valid_every=often
bad 'bad.data: valid_every=1.5, expected a whole number' valid_every=1.5
bad 'bad.data: valid_images=0, expected a whole number from 1' valid_every=1 valid_images=0
bad 'bad.data: valid_log= goes with valid_every=' valid_log=valid.csv
bad 'valid_log=/no/such/valid.csv cannot be written' valid_every=1 valid_log=/no/such/valid.csv
bad 'net.cfg: is not a valid_log= of this program' valid_every=1 valid_log=net.cfg
grep -v '^valid=' train.data >bad.data
echo valid_every=1 >>bad.data
refused 'bad.data: valid_every= needs valid=' classifier train bad.data net.cfg
sed 's/apple/plum/' held.list >plum.list
bad_list() {  # PATTERN LIST
    with bad valid_every=1
    sed -i "s/^valid=.*/valid=$2/" bad.data
    refused "$1" classifier train bad.data net.cfg
}
bad_list 'nowhere.list' nowhere.list
bad_list 'plum.list:1: .*plum' plum.list
mkdir other && cp images/0000_apple.ppm other/0000.ppm && echo "$PWD/other/0000.ppm" >other.list
bad_list 'other.list:1: image .*other/0000.ppm has none of the 2 labels' other.list
: >empty.list
bad_list 'empty.list: there are no images' empty.list
digits bad valid_every=1 valid=nothing.bin
refused 'nothing.bin' cifar train digits.cfg -data bad.data
digits bad label_smoothing=2
refused 'bad.data: label_smoothing=2, expected a number from 0 to 1' cifar train digits.cfg -data bad.data
record 10 1 >digits/test_batch.bin
refused 'test_batch.bin: record 0 is of class 10, expected 0 to 9' cifar train digits.cfg -data measured.data
{ cat saved.bin; printf x; } >digits/test_batch.bin
refused 'test_batch.bin: found 5496 bytes, expected a number of records of 785' cifar train digits.cfg -data \
    measured.data
if [ -w /dev/full ]; then
    bad '/dev/full: cannot write it' valid_every=1 valid_log=/dev/full
fi

# --- classifier check ---
with check
"$darknet" classifier check check.data >out 2>err || wrong 'check fails on good images'
[ ! -s out ] || wrong "check finds fault with good images: $(cat out)"
head -c 20 images/0001_pear.ppm >images/broken_pear.ppm
: >images/empty_apple.ppm
{ sed -n 1,3p train.list; printf '%s\n' "$PWD/images/broken_pear.ppm" "$PWD/images/empty_apple.ppm" /nowhere_pear.ppm
  sed -n 4,8p train.list; } >broken.list
sed -i 's/^valid=.*/valid=broken.list/' check.data
status=0
"$darknet" classifier check check.data -valid >out 2>err || status=$?
[ "$status" = 1 ] || wrong "exit status $status instead of 1 from check"
printf '%s: cannot be decoded\n' "$PWD/images/broken_pear.ppm" "$PWD/images/empty_apple.ppm" /nowhere_pear.ppm |
    cmp - out || wrong "check says $(cat out)"
"$darknet" classifier check check.data >out 2>err || wrong 'check looks at valid= without -valid'

echo "$failures failures"
[ "$failures" = 0 ]
