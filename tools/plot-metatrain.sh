#!/bin/bash
# Draws the progress of meta-trainings from their CSV files into a PNG.
#   tools/plot-metatrain.sh [-o FILE.png] [-t TITLE] [-x step|hours] [NAME=]FILE.csv...
# One file: the smoothed meta-loss, over that of each row in a light tone, and a thin curve for each family of
# problems, dashed where colours come again. Several: the smoothed meta-loss of each. Below, the part of the episodes that diverged. Lines
# that do not start with a number are skipped.
set -euo pipefail

fail() {
    echo "plot-metatrain: $1" >&2
    exit 1
}

out=metatrain.png title='' axis=step
while getopts o:t:x: option; do
    case $option in
        o) out=$OPTARG ;;
        t) title=$OPTARG ;;
        x) axis=$OPTARG ;;
        *) fail "see the head of this script for its options" ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || fail "no curve: expected [NAME=]FILE.csv..."
case $axis in
    step) column=1 xlabel="outer steps" ;;
    hours) column=2 xlabel="hours" ;;
    *) fail "-x $axis: expected step or hours" ;;
esac
command -v gnuplot >/dev/null || fail "gnuplot is missing: tools/install-packages.sh demo"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

colours=(0072B2 D55E00 009E73 CC79A7 E69F00 56B4E9 000000)
curves='' diverged='' k=0
for curve in "$@"; do
    name=${curve%%=*} file=${curve#*=}
    [ "$name" != "$curve" ] || name=$(basename "$file" .csv)
    [ -r "$file" ] || fail "$file: cannot read it"
    head -n 1 "$file" | grep -q '^step,hours,loss,smoothed,' || fail "$file: not the progress of a meta-training"
    grep -a '^[0-9]' "$file" >"$work/$k.csv" || true
    [ "$(wc -l <"$work/$k.csv")" -ge 2 ] || fail "$file: fewer than 2 rows"
    colour=${colours[k % ${#colours[@]}]} name=${name//[\"\\]/}
    if [ $# = 1 ]; then
        curves+="'$work/$k.csv' using $column:3 with points pt 7 ps 0.35 lc rgb '#A0$colour' notitle, "
        # The families: quoted names from column 11 on.
        family=10
        while IFS= read -r one; do
            family=$((family + 1))
            curves+="'$work/$k.csv' using $column:$family with lines lw 1.3 "
            curves+="lc rgb '#${colours[(family - 10) % ${#colours[@]}]}' dt $((1 + (family - 11) / ${#colours[@]})) title \"${one//[\"\\]/}\", "
        done < <(head -n 1 "$file" | grep -o '"[^"]*"' | tr -d '"')
    fi
    curves+="'$work/$k.csv' using $column:4 with lines lw 3 lc rgb '#$colour' title \"$name\", "
    diverged+="'$work/$k.csv' using $column:(\$6 > 0 ? 100.0 * \$7 / \$6 : NaN) with points pt 7 ps 0.5 "
    diverged+="lc rgb '#$colour' notitle, "
    k=$((k + 1))
done

title=${title//\"/}
gnuplot 2>"$work/log" <<EOF || fail "gnuplot failed: $(tail -n 1 "$work/log")"
set terminal pngcairo size 1200,800 font "DejaVu Sans,15" noenhanced
set output "$work/plot.png"
set datafile separator ","
set multiplot
set grid xtics ytics lt 1 lw 1 lc rgb "#E4E4E4"
set border 3
set tics nomirror out
set lmargin 10
set rmargin 22
set xrange [0:*] noextend
set origin 0,0.24
set size 1,0.76
set title "${title//\\/}" font "DejaVu Sans,18"
set ylabel "meta-loss: mean of log(loss / first loss)"
set key outside right top Left reverse samplen 1 spacing 1.1 width -1 font ",11"
plot ${curves%, }
set origin 0,0
set size 1,0.26
unset title
unset key
set xlabel "$xlabel"
set ylabel "diverged (%)"
set yrange [0:*]
set ytics autofreq font ",10"
plot ${diverged%, }
unset multiplot
EOF
mkdir -p "$(dirname "$out")"
cp "$work/plot.png" "$out.part" && mv "$out.part" "$out"
