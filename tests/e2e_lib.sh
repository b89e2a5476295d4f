#!/bin/bash
# The library by itself: built without Darknet's sources or a connection, installed, used by a program that knows only
# what was installed, and taken away again.
set -euo pipefail
. tests/work.sh
needs_package dataset-fashion-mnist

# A way to the network or to the host's sources ends the build.
mkdir bin
for tool in npm wget curl; do printf '#!/bin/sh\necho "%s is called" >&2\nexit 1\n' $tool >bin/$tool; done
chmod +x bin/*
PATH=$work/bin:$PATH make -C "$root" --no-print-directory install BUILD="$work/lib" DOWNLOADS="$work/none" \
    PREFIX="$work/usr" >out 2>&1 || { tail -n 5 out; wrong 'make install'; }
[ ! -e "$work/none" ] && [ ! -e "$work/lib/host" ] || wrong 'make lib fetches the host'
for file in include/hrnn/optimizer.h include/hrnn/error.h lib/libhrnn.a lib/pkgconfig/hrnn.pc share/hrnn/hrnn.safetensors; do
    [ -s "usr/$file" ] || wrong "$file is not installed"
done

export PKG_CONFIG_PATH=$work/usr/lib/pkgconfig
# shellcheck disable=SC2046
cc -O2 -Wall -Wextra -Werror "$root/tools/example/train-softmax.c" $(pkg-config --cflags --libs hrnn) -lz -lm -o train-softmax ||
    wrong 'the example does not compile against what was installed'
./train-softmax /usr/share/datasets/fashion-mnist "$(pkg-config --variable=models hrnn)/hrnn.safetensors" >out ||
    wrong 'the example fails'
cat out
awk '/ % of 10000 test images$/ { found = $1 } END { exit !(found > 80) }' out || wrong "the example learns too little: $(tail -n 1 out)"
status=0
message=$(./train-softmax /usr/share/datasets/fashion-mnist absent.safetensors 2>&1) || status=$?
[ $status = 1 ] && grep -q '^absent.safetensors: ' <<<"$message" || wrong "a missing model: $status, $message"

make -C "$root" --no-print-directory uninstall BUILD="$work/lib" PREFIX="$work/usr" >out 2>&1 || wrong 'make uninstall'
[ -z "$(find usr -type f)" ] || wrong "left behind: $(find usr -type f)"
[ "$failures" = 0 ]
