#!/bin/bash
# tools/plot-curves.sh on made-up curves.
set -euo pipefail

if ! command -v gnuplot >/dev/null; then
    echo "gnuplot is not installed"
    exit 77
fi
plot=$PWD/tools/plot-curves.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

wrong() {
    echo "FAIL: $1"
    exit 1
}

# curve SEED BATCHES: a falling, noisy loss with a header, and an inf.
curve() {
    awk -v seed="$1" -v batches="$2" 'BEGIN {
        srand(seed); OFS = ","
        print "batch", "images", "loss", "average", "rate", "seconds"
        for (b = 1; b <= batches; ++b)
            print b, 64 * b, b == 50 ? "inf" : 0.3 + 2 * exp(-b / 60) * (1 + 0.2 * rand()), 1, 0.1, 0.05
    }'
}
for seed in 1 2 3; do curve $seed 300 >$seed.csv; done
# a run that was killed while it wrote a line
{ curve 4 199; printf '200,128'; } >4.csv

# is_png FILE: a PNG of 1200 x 800 with something drawn in it
is_png() {
    printf '\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\xb0\0\0\x03\x20' >header
    head -c 24 "$1" | cmp -s - header || wrong "$1 is not a PNG of 1200 x 800"
    [ "$(stat -c %s "$1")" -gt 10000 ] || wrong "$1 is empty"
}

"$plot" -o one.png -t 'A "title" with \ quotes' sgd=1.csv "it's=4.csv"
is_png one.png
"$plot" -o deep/er/two.png -x seconds sgd=1.csv hrnn=2.csv hrnn=3.csv hrnn=4.csv
is_png deep/er/two.png
cmp -s one.png deep/er/two.png && wrong "two different plots are the same file"

# refused PATTERN ARGUMENTS...: status 1, one line that matches, no picture
refused() {
    local pattern=$1
    shift
    "$plot" -o bad.png "$@" 2>message && wrong "accepted: $*"
    [ "$(wc -l <message)" = 1 ] && grep -q -- "$pattern" message || wrong "message: $(cat message)"
    [ ! -e bad.png ] || wrong "a picture is left by: $*"
}
printf 'batch,images\n1,64,2.3,2.3,0.1,0.1\n' >short.csv
refused 'no curve'
refused 'nowhere.csv: cannot read' sgd=nowhere.csv
refused 'expected NAME=FILE' 1.csv
refused 'short.csv: fewer than 2 batches' sgd=1.csv adam=short.csv
refused 'expected images, batch or seconds' -x epochs sgd=1.csv
refused 'expected a number of batches' -w ten sgd=1.csv
echo "curves are drawn"
