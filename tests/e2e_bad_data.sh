#!/bin/bash
# What is wrong with a command line or with the data is said in one line, with exit status 1, before or while
# training; and what only looks unusual is not refused.
set -euo pipefail

. tests/trainers.sh

# refused PATTERN ARGUMENT...: exit status 1 and, beside the table of layers and the values of defaults, one
# line on stderr, which matches.
refused() {
    local pattern=$1 status=0
    shift
    timeout 60 "$darknet" "$@" >out 2>err </dev/null || status=$?
    sed '/^layer  *filters/d; /^  *[0-9]* /d; /->/d; /: Using default/d; /^rnn$/d; /^Learning Rate/d
        /^Loading weights from .*\.\.\.$/d; s/^Loading weights from .*\.\.\.//' err >message
    [ "$status" = 1 ] || wrong "exit status $status instead of 1: $*"
    [ "$(wc -l <message)" = 1 ] || wrong "not one line from: $*: $(cat message)"
    grep -qE -- "$pattern" message || wrong "\"$(cat message)\" does not match \"$pattern\": $*"
}

accepted() {
    local status=0
    timeout 60 "$darknet" "$@" >out 2>err </dev/null || status=$?
    [ "$status" = 0 ] || wrong "exit status $status from: $*: $(tail -n 1 err)"
}

# data LINE...: bad.data is train.data with these lines instead of those of the same option.
data() {
    cp train.data bad.data
    local line
    for line; do
        sed -i "/^${line%%=*}=/d" bad.data
        echo "$line" >>bad.data
    done
}

make_images 6 24
{ net; classifier_layers; } >net.cfg
{ net; detector_layers; } >boxes.cfg

# --- command lines ---
refused 'usage: .* <function>'
refused 'Not an option: nonsense' nonsense
for command in classifier detector regressor segmenter isegmenter cifar rnn tag yolo coco go super lsd nightmare \
    art average classify detect partial rgbgr reset normalize denormalize statistics rescale ops speed oneoff \
    oneoff2 print visualize mkimg 3d test imtest; do
    refused "usage: .* $command" $command
done
for command in classifier detector segmenter; do
    refused "usage: .* $command" $command train
    refused "usage: .* $command" $command train train.data
    refused "usage: .* $command" $command nonsense train.data net.cfg
done
refused 'usage: .* cifar' cifar nonsense net.cfg
refused 'usage: .* rnn' rnn train -clear

# --- files that are not there ---
refused 'none.data' classifier train none.data net.cfg
refused 'none.cfg' classifier train train.data none.cfg
refused 'none.weights' classifier train train.data net.cfg none.weights
data train=none.list
refused 'none.list' classifier train bad.data net.cfg
refused 'none.list' detector train bad.data boxes.cfg
data labels=none.labels
refused 'none.labels' classifier train bad.data net.cfg
refused 'none.text' rnn train net.cfg -file none.text

# --- lists ---
: >empty.list
printf '\n\n' >blank.list
for list in empty blank; do
    data train=$list.list
    refused "$list.list: there are no images" classifier train bad.data net.cfg
    refused "$list.list: there are no images" detector train bad.data boxes.cfg
done
{ cat train.list; echo; echo "$PWD/images/none_apple.ppm"; } >missing.list
data train=missing.list valid=missing.list
refused 'missing.list:8: .*none_apple.ppm' classifier train bad.data net.cfg
refused 'missing.list:8: .*none_apple.ppm' classifier valid bad.data net.cfg
refused 'missing.list:8: .*none_apple.ppm' detector train bad.data boxes.cfg
sed 's/$/\r/' train.list >dos.list
data train=dos.list
accepted classifier train bad.data net.cfg

# --- images ---
echo 'no image' >images/text_apple.ppm
: >images/empty_apple.ppm
for name in text empty; do
    echo "$PWD/images/${name}_apple.ppm" >one.list
    data train=one.list valid=one.list
    refused "Cannot load image .*${name}_apple.ppm" classifier train bad.data net.cfg
    refused "Cannot load image .*${name}_apple.ppm" classifier valid bad.data net.cfg
done
rm images/text_apple.ppm images/empty_apple.ppm

# --- labels ---
printf 'apple\n' >one.labels
data labels=one.labels
refused 'one.labels: found 1 labels, expected at least 2' classifier train bad.data net.cfg
refused 'one.labels: found 1 labels, expected at least 2' classifier valid bad.data net.cfg
data labels=one.labels classes=1
refused 'classes=1, but .* has 2 outputs' classifier train bad.data net.cfg
printf 'apple\nplum\n' >plum.labels
data labels=plum.labels
refused 'train.list:2: image .*pear.ppm has none of the 2 labels' classifier train bad.data net.cfg
refused 'train.list:2: image .*pear.ppm has none of the 2 labels' classifier valid bad.data net.cfg
printf 'apple\np\n' >both.labels
data labels=both.labels
refused 'train.list:1: image .*apple.ppm has two labels in its path, apple and p' classifier train bad.data net.cfg

# --- boxes ---
box() {  # PATTERN TEXT: as the only label file of a training image
    printf "$2" >labels/0000_apple.txt
    refused "$1" detector train bad.data boxes.cfg
}
head -n 1 train.list >one.list
data train=one.list
cp labels/0000_apple.txt saved
box '0000_apple.txt:2: class 2, expected 0 to 1' '0 .5 .5 .1 .1\n2 .5 .5 .1 .1\n'
box '0000_apple.txt:1: class -1, expected 0 to 1' '\055\061 .5 .5 .1 .1\n'
box '0000_apple.txt:1: box 1.5 ' '0 1.5 .5 .1 .1\n'
box '0000_apple.txt:1: box .* -0.1 ' '0 .5 .5 -.1 .1\n'
box '0000_apple.txt:1: box .*nan' '0 .5 nan .1 .1\n'
box '0000_apple.txt:1: box .*inf' '0 .5 .5 inf .1\n'
box '0000_apple.txt:1: found "0 .5 .5 .1"' '0 .5 .5 .1\n'
box '0000_apple.txt:1: found "apple' 'apple .5 .5 .1 .1\n'
box '0000_apple.txt:3: found ".*expected: class x y width height' '\n0 .5 .5 .1 .1\n0 .5 .5 .1 .1 .1\n'
rm labels/0000_apple.txt
refused "label file .*0000_apple.txt of image .*0000_apple.ppm" detector train bad.data boxes.cfg
for text in '' '0 0 0 0 0\n' '1 1 1 1 1\n' '0 .5 .5 .1 .1' ' \n1 .5 .5 .1 .1 \r\n'; do
    printf "$text" >labels/0000_apple.txt
    accepted detector train bad.data boxes.cfg
done
mv saved labels/0000_apple.txt
data classes=3
refused 'classes=3, but the last layer of boxes.cfg has classes=2' detector train bad.data boxes.cfg
refused 'classes=2, but the last layer of net.cfg has classes=0' detector train train.data net.cfg

# --- networks that do not fit ---
sed 's/^height=16/height=24/' net.cfg >wide.cfg
refused 'An image has 768 values, the network takes 1152' classifier train train.data wide.cfg
sed 's/^channels=3/channels=5/' net.cfg >five.cfg
refused '5 channels' classifier train train.data five.cfg

# --- the backup folder ---
rm -rf backup
data backup=deep/er/backup
accepted classifier train bad.data net.cfg
[ -s deep/er/backup/net.weights ] || wrong "no weights in deep/er/backup"
[ ! -e backup ] || wrong "backup= is given, and backup/ made"
: >file
for folder in file file/backup /proc/backup; do
    data backup=$folder
    refused "Cannot .* the backup folder ($folder|file) " classifier train bad.data net.cfg
    ! grep -q avg out || wrong "trained before it looked at the backup folder $folder"
done
data save_every=0
refused 'save_every must be at least 1, not 0' classifier train bad.data net.cfg

# --- CIFAR-10 ---
mkdir batches
for b in 1 2 3 4 5; do { printf '\7'; head -c 3072 /dev/zero; } >batches/data_batch_$b.bin; done
printf 'train=batches\n' >cifar.data
{ net width=32 height=32; printf '%s\n' '[connected]' output=10 activation=linear '[softmax]'; } |
    sed '/^width=16$/d; /^height=16$/d' >cifar.cfg
accepted cifar train cifar.cfg -data cifar.data
refused 'data_batch_1.bin: found 3073 bytes, expected a number of records of 769 .a label and 768 values' \
    cifar train net.cfg -data cifar.data
sed 's/^output=10/output=7/' cifar.cfg >seven.cfg
refused 'data_batch_1.bin: record 0 is of class 7, expected 0 to 6' cifar train seven.cfg -data cifar.data
sed 's/^output=10/output=257/' cifar.cfg >many.cfg
refused 'many.cfg has 257 outputs, expected 1 to 256' cifar train many.cfg -data cifar.data
refused 'cifar-10-batches-bin' cifar train cifar.cfg
head -c 3000 /dev/zero >>batches/data_batch_3.bin
refused 'data_batch_3.bin: found 6073 bytes, expected a number of records of 3073' cifar train cifar.cfg \
    -data cifar.data
{ printf '\12'; head -c 3072 /dev/zero; } >batches/data_batch_3.bin
refused 'data_batch_3.bin: record 0 is of class 10, expected 0 to 9' cifar train cifar.cfg -data cifar.data
rm batches/data_batch_3.bin # there may be any number
accepted cifar train cifar.cfg -data cifar.data
rm batches/data_batch_*.bin
refused 'batches: there is no data_batch_\*.bin' cifar train cifar.cfg -data cifar.data

# --- text ---
rnn() { # INPUTS OUTPUTS
    printf '%s\n' '[net]' inputs=$1 batch=2 time_steps=3 max_batches=2 learning_rate=0.1 seed=7 '[rnn]' output=8 \
        activation=leaky '[connected]' output=$2 activation=leaky '[softmax]' >rnn.cfg
}
rnn 256 256
: >empty.text
refused 'empty.text: there is nothing to learn' rnn train rnn.cfg -file empty.text
refused 'none.tokens' rnn train rnn.cfg -file none.tokens -tokenized
echo '1 2 256 3 1 2 300 1' >tokens
refused 'Token (256|300) at [0-9]*: the network takes 0 to 255' rnn train rnn.cfg -file tokens -tokenized
rnn 64 64
echo 'Some words.' >text
refused 'Character [0-9]* at byte [0-9]*: the network takes 1 to 63' rnn train rnn.cfg -file text
rnn 256 64
refused 'takes 256 inputs and has 64 outputs' rnn train rnn.cfg -file text

# --- few images ---
data top=5
for command in valid validcrop valid10; do
    accepted classifier $command bad.data net.cfg
    grep -q '^Accuracy on 6 images: top 1: [01]\.[0-9]*, top 2: 1.000000$' out ||
        wrong "no accuracy from classifier $command"
done
data test=train.list
accepted classifier test bad.data net.cfg
[ "$(grep -c 'ppm	' out)" = 6 ] || wrong "classifier test did not print 6 images"
accepted classifier predict bad.data net.cfg '' images/0001_pear.ppm
[ "$(grep -c '%: ' out)" -ge 1 ] || wrong "classifier predict printed no class"
accepted detector recall train.data boxes.cfg
accepted detector valid train.data boxes.cfg

echo "$failures failures"
[ "$failures" = 0 ]
