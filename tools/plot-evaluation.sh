#!/bin/bash
# Draws what `build/metatrain -evaluate` has written into a PNG.
#   tools/plot-evaluation.sh [-o FILE.png] [-t TITLE] FOLDER
# FOLDER is weights/NAME.evaluation; the picture is FOLDER/evaluation.png by default. Above, the loss of every
# row of the corpus over that of each baseline at its best rate. Below left, what is left of the loss after
# 1, 5 and 25 times the longest episode of the meta-training; below right, the loss from each starting rate
# over that from the row's best: a thin line for each run or row, a bold one for the median. A part that was not
# evaluated stays empty. Values outside of a panel are drawn at its edge.
set -euo pipefail

fail() {
    echo "plot-evaluation: $1" >&2
    exit 1
}

out='' title=''
while getopts o:t: option; do
    case $option in
        o) out=$OPTARG ;;
        t) title=$OPTARG ;;
        *) fail "see the head of this script for its options" ;;
    esac
done
shift $((OPTIND - 1))
[ $# = 1 ] || fail "expected one folder: NAME.evaluation"
folder=${1%/}
[ -r "$folder/report.txt" ] || fail "$folder: not the folder of an evaluation: there is no report.txt"
command -v gnuplot >/dev/null || fail "gnuplot is missing: tools/install-packages.sh demo"
[ -n "$out" ] || out=$folder/evaluation.png
[ -n "$title" ] || title=$(sed 's/ ([0-9a-f]*)//; q' "$folder/report.txt")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
colours=(0072B2 D55E00 009E73 CC79A7)
high=1e4 low=1e-4

# columns FILE HEADER: the lines of a CSV without their quoted names, which the header must start with
columns() {
    head -n 1 "$1" | grep -q "^$2" || fail "$1: its first line is not that of an evaluation"
    awk -F'"' 'NR > 1 { print substr($5, 2) }' "$1"
}

# --- ratios: "index ratio..." a row; the groups' first and last index ---
ratios=''
if [ -r "$folder/rows.csv" ]; then
    columns "$folder/rows.csv" 'row,group,start,loss,diverged,' >"$work/rows"
    mapfile -t names < <(head -n 1 "$folder/rows.csv" | tr , '\n' | sed -n 's/_ratio$//p')
    for k in "${!names[@]}"; do
        # 5 columns each, after start, loss, diverged; the ratio is the 4th
        awk -F, -v at=$((3 + 5 * k + 4)) -v low=$low -v high=$high '{
            y = $at; if (y ~ /inf/ || y + 0 > high) y = high; if (y + 0 < low) y = low
            print NR, y }' "$work/rows" >"$work/ratios-$k"
        ratios+="'$work/ratios-$k' using 1:2 with points pt $((7 - 2 * (k % 2))) ps 0.8 lc rgb '#${colours[k % 4]}' "
        ratios+="title \"over ${names[k]}\", "
    done
    awk -F'"' 'NR > 1 { if ($4 != group) { group = $4; print group "\t" NR - 1 } }' "$folder/rows.csv" >"$work/groups"
    rows=$(wc -l <"$work/rows")
    awk -F'\t' -v rows="$rows" '
        { name[NR] = $1; first[NR] = $2 }
        END {
            first[NR + 1] = rows + 1
            printf "set xtics rotate by 35 right ("
            for (i = 1; i <= NR; ++i)
                printf "%s\"%s\" %g", (i > 1 ? ", " : ""), name[i], (first[i] + first[i + 1] - 1) / 2
            print ")"
            for (i = 2; i <= NR; ++i)
                printf "set arrow from %g, graph 0 to %g, graph 1 nohead lw 1 lc rgb \"#D0D0D0\" back\n",
                    first[i] - 0.5, first[i] - 0.5
        }' "$work/groups" >"$work/ticks"
    echo "set xrange [0.5:$rows.5]" >>"$work/ticks"
fi

# lines FILE N: from "x y" a line, N to a curve: the curves, and the median of each x
lines() {
    awk -v n="$2" '{ print } NR % n == 0 { print "" }' "$1" >"$1-lines"
    sort -g -k1,1 -k2,2 "$1" | awk '
        function finish() { if (n) print x, n % 2 ? y[(n + 1) / 2] : (y[n / 2] + y[n / 2 + 1]) / 2 }
        $1 != x { finish(); n = 0; x = $1 }
        { y[++n] = $2 }
        END { finish() }' >"$1-median"
}
clip='function clipped(y) { return y ~ /inf/ || y + 0 > high ? high : y + 0 < low ? low : y }'
curves() {  # FILE COLOUR
    echo "'$1-lines' using 1:2 with lines lw 1 lc rgb '#C0$2' notitle, " \
        "'$1-median' using 1:2 with linespoints pt 7 lw 3 lc rgb '#$2' title 'median'"
}

lengths='' starts=''
if [ -r "$folder/lengths.csv" ]; then
    columns "$folder/lengths.csv" 'row,group,seed,steps,start,loss,diverged$' |
        awk -F, -v low=1e-8 -v high=10 "$clip"'
            { print $2, $4 ~ /inf/ ? high : clipped(($4 + 1e-6) / ($3 + 1e-6)) }' >"$work/lengths"
    lines "$work/lengths" 3
    lengths=$(curves "$work/lengths" 0072B2)
    length_ticks=$(awk '{ printf "%s%d", (NR > 1 ? ", " : ""), $1 }' "$work/lengths-median")
fi
if [ -r "$folder/starts.csv" ]; then
    columns "$folder/starts.csv" 'row,group,rate,start,loss,ratio,diverged$' |
        awk -F, -v low=1 -v high=$high "$clip"' { print $1, clipped($4) }' >"$work/starts"
    lines "$work/starts" 5
    starts=$(curves "$work/starts" D55E00)
fi
[ -n "$ratios$lengths$starts" ] || fail "$folder: nothing to draw: no rows.csv, lengths.csv or starts.csv"

title=${title//\"/}
{
    cat <<EOF
set terminal pngcairo size 1500,1100 font "DejaVu Sans,13" noenhanced
set output "$work/plot.png"
set multiplot title "${title//\\/}" font "DejaVu Sans,15"
set grid ytics lt 1 lw 1 lc rgb "#E4E4E4"
set border 3
set tics nomirror out
set lmargin 11
set rmargin 3
set logscale y
set format y "%g"
set key top right Left reverse samplen 2 box lc rgb "#BBBBBB" opaque
EOF
    if [ -n "$ratios" ]; then
        cat "$work/ticks"
        cat <<EOF
set origin 0,0.42
set size 1,0.54
set yrange [$low/2:$high*2]
set ylabel "loss / that of the baseline at its best rate"
plot 1 with lines lw 2 lc rgb "#808080" notitle, ${ratios%, }
unset arrow
EOF
    fi
    cat <<EOF
set xtics norotate center autofreq
set grid xtics ytics lt 1 lw 1 lc rgb "#E4E4E4"
set logscale x
EOF
    [ -z "$lengths" ] || cat <<EOF
set origin 0,0
set size 0.5,0.42
set xtics ($length_ticks)
set xrange [*:*]
set yrange [1e-8:10]
set xlabel "steps: 1, 5 and 25 times the longest episode"
set ylabel "loss / at the start"
plot $lengths
EOF
    [ -z "$starts" ] || cat <<EOF
set origin 0.5,0
set size 0.5,0.42
set xtics (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
set format x "%g"
set xrange [1e-6:1e-2]
set yrange [0.8:$high*2]
set xlabel "starting learning rate"
set ylabel "loss / from the row's best start"
plot $starts
EOF
    echo 'unset multiplot'
} >"$work/script"
gnuplot "$work/script" 2>"$work/log" || fail "gnuplot failed: $(tail -n 1 "$work/log")"
mkdir -p "$(dirname "$out")"
cp "$work/plot.png" "$out.part" && mv "$out.part" "$out"
