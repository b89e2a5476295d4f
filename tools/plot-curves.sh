#!/bin/bash
# Draws training curves from the CSV files of optimizer_log= into a PNG.
#   tools/plot-curves.sh [-o FILE.png] [-t TITLE] [-x images|batch|seconds] [-y LABEL] [-w N]
#                        NAME=FILE.csv...
# One curve for each NAME, in the order of first mention, of the loss averaged over N batches (-w;
# default: a fiftieth of the run), over the loss of each batch in a light tone. A NAME given
# several times, one CSV a seed, is drawn as the mean of its seeds within a band from the lowest to
# the highest. The columns of a CSV are batch, images, loss, average, rate, seconds, update; lines that
# do not start with a number are skipped, and a run cut short counts as far as it goes. -x seconds
# adds up that column.
set -euo pipefail

fail() {
    echo "plot-curves: $1" >&2
    exit 1
}

out=curves.png title='' axis=images window=0 ylabel="training loss (nats per image)"
while getopts o:t:x:y:w: option; do
    case $option in
        o) out=$OPTARG ;;
        t) title=$OPTARG ;;
        x) axis=$OPTARG ;;
        y) ylabel=$OPTARG ;;
        w) window=$OPTARG ;;
        *) fail "see the head of this script for its options" ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || fail "no curve: expected NAME=FILE.csv..."
case $window in *[!0-9]*) fail "-w $window: expected a number of batches" ;; esac
case $axis in
    images) xlabel="training images seen (thousands)" ;;
    batch) xlabel="training batches" ;;
    seconds) xlabel="training time (seconds)" ;;
    *) fail "-x $axis: expected images, batch or seconds" ;;
esac
command -v gnuplot >/dev/null || fail "gnuplot is missing: tools/install-packages.sh demo"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

names=()
for curve in "$@"; do
    name=${curve%%=*} file=${curve#*=}
    [ "$name" != "$curve" ] && [ -n "$name" ] || fail "$curve: expected NAME=FILE.csv"
    [ -r "$file" ] || fail "$file: cannot read it"
    known=
    for k in "${!names[@]}"; do [ "${names[k]}" != "$name" ] || known=$k; done
    if [ -z "$known" ]; then
        known=${#names[@]}
        names+=("$name")
    fi
    seed=$(find "$work" -name "seed-$known-*" | wc -l)
    # x and loss of each batch
    awk -F, -v axis="$axis" '
        $1 ~ /^ *[0-9]/ && NF >= 6 {
            seconds += $6
            x = axis == "images" ? $2 / 1000 : axis == "batch" ? $1 : seconds
            loss = $3 + 0
            if (loss > 0 && loss < 1e30) print x, loss # also leaves out nan and inf
        }' "$file" >"$work/seed-$known-$seed"
    [ "$(wc -l <"$work/seed-$known-$seed")" -ge 2 ] || fail "$file: fewer than 2 batches"
done

# Averages each seed over `window` batches around every point, then over the seeds.
# Writes: x, mean, lowest, highest.
average() {
    awk -v window="$window" '
        FNR == 1 { ++seeds }
        { x[FNR] += $1; loss[seeds, FNR] = $2; n[seeds] = FNR }
        END {
            rows = n[1]
            for (s = 2; s <= seeds; ++s) if (n[s] < rows) rows = n[s]
            if (!window) window = rows / 50
            half = int(window / 2)
            for (s = 1; s <= seeds; ++s)
                for (i = 1; i <= n[s]; ++i) sum[s, i] = sum[s, i - 1] + loss[s, i]
            for (i = 1; i <= rows; ++i) {
                total = 0
                for (s = 1; s <= seeds; ++s) {
                    # at the steep start the same on both sides; at the flat end what there is
                    before = i - 1 < half ? i - 1 : half
                    after = n[s] - i < before ? n[s] - i : before
                    y = (sum[s, i + after] - sum[s, i - before - 1]) / (before + after + 1)
                    total += y
                    if (s == 1 || y < low) low = y
                    if (s == 1 || y > high) high = y
                }
                print x[i] / seeds, total / seeds, low, high
            }
        }' "$@"
}

colours=(0072B2 D55E00 009E73 CC79A7 E69F00 56B4E9 000000)
raw='' bands='' lines=''
for k in "${!names[@]}"; do
    average "$work/seed-$k-"* >"$work/mean-$k"
    seeds=$(find "$work" -name "seed-$k-*" | wc -l)
    colour=${colours[k % ${#colours[@]}]}
    name=${names[k]//\"/}
    if [ "$seeds" -gt 1 ]; then
        bands+="'$work/mean-$k' using 1:3:4 with filledcurves lc rgb '#B0$colour' notitle, "
        name+=" (mean and range of $seeds seeds)"
    else
        raw+="'$work/seed-$k-0' using 1:2 with points pt 7 ps 0.35 lc rgb '#A0$colour' notitle, "
    fi
    lines+="'$work/mean-$k' using 1:2 with lines lw 3 lc rgb '#$colour' title \"${name//\\/}\", "
done

# The range of the averaged curves with some of the scatter around them.
read -r low high < <(sort -g -k2,2 "$work"/seed-* | awk '
    { y[NR] = $2 } END { print y[1 + int(NR * 0.005)] * 0.9, y[NR - int(NR * 0.002)] * 1.1 }')
title=${title//\"/}
gnuplot <<EOF || fail "gnuplot failed"
set terminal pngcairo size 1200,800 font "DejaVu Sans,15" noenhanced
set output "$work/plot.png"
set title "${title//\\/}" font "DejaVu Sans,18"
set xlabel "$xlabel"
set ylabel "${ylabel//[\"\\]/}"
set logscale y
set yrange [$low:$high]
set ytics (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, \
    1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100, 200, 500, 1000)
set xrange [0:*] noextend
set grid xtics ytics lt 1 lw 1 lc rgb "#E4E4E4"
set border 3
set tics nomirror out
set key top right Left reverse samplen 2 spacing 1.3 width 1 height 0.5 box lc rgb "#BBBBBB" opaque
set lmargin 10
set rmargin 4
plot $raw $bands ${lines%, }
EOF
mkdir -p "$(dirname "$out")"
cp "$work/plot.png" "$out.part" && mv "$out.part" "$out"
