#!/bin/bash
# compare: the same losses whenever and however it runs them, which are those of darknet itself; stopped,
# killed and resumed; what it does with runs that diverge; one line for what cannot be compared.
set -euo pipefail

. tests/trainers.sh
compare=$build/compare

make_images 12 24
{ net; classifier_layers; } >net.cfg

# compare_to OUT OPTIONS...
compare_to() {
    local out=$1
    shift
    "$compare" net.cfg train.data -out "$out" -batch-sizes none "$@" >out 2>err
}
# The losses of all runs in a folder, without their times.
losses() {
    (cd "$1/runs" && for f in */*/*/loss.csv; do echo "$f"; cut -d, -f1-5 "$f"; done
     for f in */*/*/valid.csv; do echo "$f"; cut -d, -f1-4 "$f"; done
     for f in */*/*/done; do echo "$f"; cat "$f"; done)
}
# The results as tables, without times.
table() { awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ /seconds/) skip[i] = 1 }
    { for (i = 1; i <= NF; i++) if (!skip[i]) printf "%s,", $i; print "" }' "$1/runs.csv" | sort; }
same() { # A B WHAT
    cmp -s <(losses "$1") <(losses "$2") || wrong "other losses: $3"
    cmp -s <(table "$1") <(table "$2") || wrong "another table: $3"
}
count() { find "$1/runs" -name done | wc -l; }

# --- the same whether one after the other or together, and what darknet does itself ---
some=(-optimizers hrnn,sgd,adam -rates 1e-3,1e-2 -rates hrnn=own,1e-3 -seeds 2 -batches 60 -every 20)
compare_to one "${some[@]}" -jobs 1 || wrong "compare failed: $(tail -n 1 err)"
compare_to two "${some[@]}" --jobs=2 || wrong "compare failed: $(tail -n 1 err)"
[ "$(count one)" = 12 ] || wrong "$(count one) runs instead of 12"
same one two 'two at a time'
[ "$(wc -l <one/runs.csv)" = 13 ] || wrong "$(wc -l <one/runs.csv) lines in runs.csv"
[ -z "$(find one/runs -name '*.weights' -o -name '*.backup')" ] || wrong 'weights are left'
for f in curves.csv summary.csv summary.txt report.html; do [ -s "one/$f" ] || wrong "no $f"; done
cmp -s one/summary.txt out || grep -qF "$(head -n 1 two/summary.txt)" out || wrong 'the summary is not printed'

# --- reported again, without training. Curves of the best rates are kept: adam's is the other one, with this run or without ---
cp one/runs.csv before.csv
rm one/report.html one/summary.txt one/runs/adam/0.001/2/done
compare_to one "${some[@]}" -report-only || wrong "-report-only: $(tail -n 1 err)"
[ -s one/report.html ] && [ -s one/summary.txt ] || wrong '-report-only wrote no report'
cmp -s one/runs.csv <(grep -v ',adam,0.001,2,' before.csv) || wrong '-report-only: another table'
compare_to one "${some[@]}" -resume || wrong "-resume: $(tail -n 1 err)"
same one two 'a run done again'
! compare_to nothing "${some[@]}" -report-only || wrong 'a report of nothing'
grep -q '^compare: nothing: holds no finished runs$' err || wrong "a report of nothing: $(tail -n 1 err)"

by_hand() {  # FOLDER LINES...: darknet with these lines under [net] gives the losses of that run
    local folder=$1
    shift
    { net "$@" optimizer_log=by-hand.csv | sed 's/^seed=.*/seed=2/; s/^max_batches=.*/max_batches=60/'
      classifier_layers; } >by-hand.cfg
    rm -f by-hand.csv
    "$darknet" classifier train train.data by-hand.cfg >log 2>&1 || wrong "darknet failed: $(tail -n 1 log)"
    cmp -s <(cut -d, -f1-5 by-hand.csv) <(cut -d, -f1-5 "$folder/2/loss.csv") || wrong "$folder is not what darknet does"
}
by_hand one/runs/sgd/0.01 optimizer=sgd
by_hand one/runs/hrnn/own optimizer=hrnn
by_hand one/runs/hrnn/0.001 optimizer=hrnn optimizer_rate=0.001
[ "$(sed -n 2p one/runs/sgd/0.01/1/loss.csv)" != "$(sed -n 2p one/runs/sgd/0.01/2/loss.csv)" ] ||
    wrong 'two seeds begin alike'
start_of() { sed -n '2s/^\([^,]*,[^,]*,[^,]*\),.*/\1/p' "one/runs/$1/loss.csv"; }
[ "$(start_of sgd/0.01/1)" = "$(start_of adam/0.001/1)" ] || wrong 'two optimizers begin differently'

# --- stopped by a signal, killed, and resumed ---
long=(-optimizers hrnn,sgd -rates 1e-3,3e-3 -seeds 1 -batches 400 -jobs 2)
compare_to whole "${long[@]}" || wrong "compare failed: $(tail -n 1 err)"
interrupt() {  # OUT SIGNAL BATCH [OPTION]: when a run is at BATCH; the exit status in $status
    local out=$1 process i
    "$compare" net.cfg train.data -out "$out" -batch-sizes none "${long[@]}" ${4:+"$4"} >out 2>err &
    process=$!
    for ((i = 0; i < 600; i++)); do
        if grep -qs "^$3," "$out"/runs/*/*/1/loss.csv; then break; fi
        kill -0 "$process" 2>/dev/null || break
        sleep .05
    done
    kill -"$2" "$process" || wrong "$out ended before $2: $(tail -n 1 err)"
    status=0
    wait "$process" || status=$?
}
interrupt stopped TERM 50
[ "$status" = 143 ] || wrong "exit status $status after TERM: $(tail -n 1 err)"
[ -n "$(find stopped -name run.backup)" ] || wrong 'TERM left no weights to go on from'
[ "$(count stopped)" -lt 3 ] || wrong 'TERM did not interrupt anything'
! compare_to stopped "${long[@]}" || wrong 'runs in the folder are not noticed'
grep -q '^compare: stopped: holds runs; -resume goes on with them$' err || wrong "$(tail -n 1 err)"
interrupt stopped INT 200 -resume
[ "$status" = 130 ] || wrong "exit status $status after INT: $(tail -n 1 err)"
compare_to stopped "${long[@]}" -resume || wrong "-resume failed: $(tail -n 1 err)"
same whole stopped 'stopped and resumed'
interrupt killed KILL 150
compare_to killed "${long[@]}" -resume || wrong "-resume failed: $(tail -n 1 err)"
same whole killed 'killed and resumed'

# However early the signal comes, it reaches the runs that were just started.
for after in 0 .05 .1 .15 .2; do
    timeout -s KILL 60 "$compare" net.cfg train.data -out early -resume -optimizers sgd,adam -rates 1e-3 -seeds 1 \
        -batches 1000000 -batch-sizes none >out 2>err &
    process=$!
    sleep "$after"
    status=0
    kill -TERM "$process"
    wait "$process" || status=$?
    [ "$status" = 143 ] || wrong "exit status $status after TERM at $after s: $(tail -n 1 err)"
done

# A child that is killed ends the sweep with a line; what is done stays, and the rest can go on.
"$compare" net.cfg train.data -out child -batch-sizes none "${long[@]}" -jobs 1 >out 2>err &
process=$!
for ((i = 0; i < 600; i++)); do
    if grep -qs '^100,' child/runs/sgd/0.001/1/loss.csv; then break; fi
    sleep .05
done
pkill -KILL -P "$process" || wrong 'no child to kill'
wait "$process" && wrong 'a killed child is not noticed'
grep -q '^compare: child/runs/sgd/0.001/1: ended by signal 9 (Killed)' err || wrong "$(tail -n 1 err)"
[ "$(wc -l <child/runs.csv)" = 2 ] || wrong 'what was done is not in the table'
compare_to child "${long[@]}" -resume || wrong "-resume failed: $(tail -n 1 err)"
same whole child 'a child killed'

# --- resumed with something else ---
cp net.cfg other.cfg
sed -i 's/^momentum=.*/momentum=0.8/' other.cfg
! "$compare" other.cfg train.data -out whole "${long[@]}" -resume >out 2>err || wrong 'another cfg is accepted'
grep -q '^compare: whole/runs/[^ ]*: was run with momentum=0.9 instead of momentum=0.8; ' err || wrong "$(tail -n 1 err)"

# --- what failed before it had anything to keep may be mended and run again ---
sed 's/^channels=.*/channels=2/' net.cfg >typo.cfg
! "$compare" typo.cfg train.data -out mended -optimizers sgd -rates 1e-3 -seeds 1 -batches 5 -batch-sizes none \
    >out 2>err || wrong 'images with 2 channels are accepted'
compare_to mended -optimizers sgd -rates 1e-3 -seeds 1 -batches 5 || wrong "a mended cfg: $(tail -n 1 err)"

# --- seeds that only the best rates get ---
compare_to scan -optimizers sgd -rates 1e-4,3e-4,1e-3,3e-3,1e-2,1e5 -seeds 3 -scan-seeds 1 -batches 20 ||
    wrong "compare failed: $(tail -n 1 err)"
best=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i } $at["seed"] == 1 && $at["outcome"] == "finished" &&
    (least == "" || $at["held_out_loss"] < least) { least = $at["held_out_loss"]; best = $at["rate"] }
    END { printf "%g", best }' scan/runs.csv)
expected=$(printf '%s\n' 0.0001 0.0003 0.001 0.003 0.01 1e+05 |
    awk -v best="$best" '{ rate[NR] = $1 } END { for (i in rate) if (rate[i] == "0.01" || rate[i] == best ||
        rate[i - 1] == best || rate[i + 1] == best) print rate[i] }' | sort)
found=$(cd scan/runs/sgd && ls -d ./*/3 | cut -d/ -f2 | sort)
[ "$expected" = "$found" ] || wrong "with best rate $best seed 3 has the rates ${found//$'\n'/ }"

# --- a run that diverges is stopped early, and a result ---
diverged=scan/runs/sgd/1e+05/1
grep -q '^diverged ' "$diverged/done" || wrong "1e5 did not diverge: $(tail -n 2 "$diverged/loss.csv")"
compare_to hopeless -optimizers sgd -rates 1e6 -seeds 1 -batches 1000000 || wrong "a hopeless run: $(tail -n 1 err)"
grep -q '^diverged ' hopeless/runs/sgd/1e+06/1/done || wrong 'a hopeless run did not diverge'
[ -z "$(find hopeless -name '*.backup')" ] || wrong 'weights of a diverged run are left'

# --- without gnuplot the tables are there and printed ---
mkdir no-gnuplot
! PATH=$PWD/no-gnuplot "$compare" net.cfg train.data -out plain -optimizers sgd -rates 1e-3 -seeds 1 -batches 5 \
    -batch-sizes none >out 2>err || wrong 'no gnuplot is not noticed'
grep -q '^compare: curves.png: gnuplot is not installed' err || wrong "no gnuplot: $(tail -n 1 err)"
[ -s plain/summary.txt ] && cmp -s plain/summary.txt <(head -c "$(stat -c %s plain/summary.txt)" out) ||
    wrong 'no gnuplot: the summary is not printed'

# --- runs of an earlier comparison are not repeated ---
compare_to again -optimizers sgd,hrnn -rates 1e-2,3e-2 -seeds 2 -batches 60 -every 20 -baseline one ||
    wrong "with -baseline: $(tail -n 1 err)"
[ "$(cd again/runs && echo */*/*)" = 'hrnn/own/1 hrnn/own/2 sgd/0.03/1 sgd/0.03/2' ] ||
    wrong "-baseline: ran $(cd again/runs && echo */*/*)"
[ "$(grep -c ',sgd,' again/runs.csv)" = 6 ] || wrong '-baseline: not all runs are in the table'
! compare_to never -optimizers sgd -batches 50 -baseline one || wrong 'a baseline of other batches is accepted'
[ "$(wc -l <err)" = 1 ] && grep -q 'compare: one/runs.csv' err || wrong "$(tail -n 1 err)"

# --- step times; a size that cannot be is left out ---
"$compare" net.cfg train.data -out times -optimizers sgd,hrnn -rates 1e-3 -seeds 1 -batches 5 \
    -batch-sizes 1,4,99999999 >out 2>err || wrong "-batch-sizes: $(tail -n 1 err)"
[ "$(wc -l <times/times.csv)" = 5 ] || wrong "times.csv: $(cat times/times.csv)"
grep -q '^compare: batch size 99999999 with hrnn is left out: ' err || wrong 'a size is dropped silently'
"$compare" net.cfg train.data -out times-only -optimizers sgd,hrnn -seeds 0 -batch-sizes 1,2 >out 2>err ||
    wrong "-seeds 0: $(tail -n 1 err)"
[ "$(wc -l <times-only/times.csv)" = 5 ] && grep -q '^2  .* (1.00)' times-only/summary.txt || wrong '-seeds 0: no step times'
[ ! -e times-only/runs ] || wrong '-seeds 0 trained'

# --- images that cannot be decoded ---
cp -r images broken
printf 'P6\n24 24\n255\nshort' >broken/0003_pear.ppm
sed 's|/images/|/broken/|' train.list >broken.list
sed 's/=train\.list/=broken.list/' train.data >broken.data
! "$compare" net.cfg broken.data -out broken-out "${some[@]}" >out 2>err || wrong 'a broken image is accepted'
grep -q '^compare: .*broken/0003_pear.ppm' err || wrong "a broken image: $(tail -n 1 err)"
"$compare" net.cfg broken.data -out skipped -optimizers sgd -rates 1e-3 -seeds 1 -batches 5 -batch-sizes none \
    -skip-broken >out 2>err || wrong "-skip-broken: $(tail -n 1 err)"
grep -q 'broken/0003_pear.ppm: cannot be decoded and is left out$' err || wrong 'a broken image is not named'
[ "$(wc -l <skipped/train.list)" = 11 ] || wrong 'the list without broken images'

# --- binary batches ---
mkdir -p batches
for name in data_batch_1 data_batch_2 test_batch; do
    LC_ALL=C awk -v n=20 'BEGIN { for (i = 0; i < n; i++) { printf "%c", i % 3
        for (k = 0; k < 64; k++) printf "%c", (k * (i % 3 + 1) * 7 + i) % 100 + 20 } }' >"batches/$name.bin"
done
printf '%s\n' train=batches label_smoothing=0 >batches.data
printf '%s\n' '[net]' batch=4 width=8 height=8 channels=1 learning_rate=.1 max_batches=30 '[connected]' output=3 \
    activation=linear '[softmax]' >batches.cfg
if [ "$(stat -c %s batches/test_batch.bin)" = 1300 ]; then
    "$compare" batches.cfg batches.data -optimizers sgd,hrnn -rates 1e-2 -seeds 1 -batch-sizes 2 >out 2>err ||
        wrong "binary batches: $(tail -n 1 err)"
    [ "$(tail -n 1 compare-batches/runs/sgd/0.01/1/valid.csv | cut -d, -f1)" = 30 ] || wrong 'binary batches: nothing measured'
    [ "$(wc -l <compare-batches/times.csv)" = 3 ] || wrong 'binary batches: no step times'
else
    wrong 'the binary batches are not what they should be'
fi

# --- one line for what cannot be compared ---
refused() {  # WHAT MESSAGE ARGUMENTS...
    refused_by compare "$@" -out refused
    [ $status = 1 ] || wrong "$1: exit status $status"
    [ ! -e refused/runs ] || wrong "$1: something was run"
    rm -rf refused
}
: >empty.list
sed 's/^train=.*/train=empty.list/' train.data >empty.data
sed 's/^train=.*/train=missing.list/' train.data >missing.data
sed '/^train=/d' train.data >none.data
mkdir folder
sed 's/^train=.*/train=folder/' train.data >folder.data
sed 1d net.cfg >headless.cfg
sed 's/^max_batches=.*/max_batches=many/' net.cfg >many.cfg
printf 'not a model' >bad.safetensors
refused 'no cfg' 'no.cfg: cannot be read' no.cfg train.data
refused 'no data' 'no.data: cannot be read' net.cfg no.data
refused 'a cfg without [net]' 'headless.cfg: does not begin with a section' headless.cfg train.data
refused 'a folder as cfg' 'folder: ' folder train.data
refused 'a wrong max_batches' 'many.cfg: max_batches=many, expected a whole number' many.cfg train.data
refused 'an empty list' 'empty.list: there are no images in the list' net.cfg empty.data
refused 'a missing list' 'missing.data: train=missing.list: No such file' net.cfg missing.data
refused 'data without train=' 'none.data: has no train=' net.cfg none.data
refused 'a folder without batches' 'folder: there is no data_batch_' net.cfg folder.data
refused 'rate 0' '"0" is not a learning rate' net.cfg train.data -rates 1e-3,0
refused 'a negative rate' '"-1" is not a learning rate' net.cfg train.data -rates=-1
refused 'no rate' '"" is not a learning rate' net.cfg train.data -rates 1e-3,
refused 'a rate twice' '0.01 stands there twice' net.cfg train.data -rates 1e-2,1e-3,0.01
refused 'rates of nobody' 'lion is not among' net.cfg train.data -rates lion=1e-3
refused 'seeds -1' '-seeds -1: expected' net.cfg train.data -seeds -1
refused 'jobs 0' '-jobs 0: expected' net.cfg train.data -jobs 0
refused 'batches -3' '-batches -3: expected' net.cfg train.data -batches=-3
refused 'scan more than seeds' '-scan-seeds 4: ' net.cfg train.data -scan-seeds 4
refused 'an unknown optimizer' 'unknown optimizer "lion", expected' net.cfg train.data -optimizers sgd,lion
refused 'an optimizer twice' 'sgd stands there twice' net.cfg train.data -optimizers sgd,adam,sgd
refused 'a model as sgd' 'sgd=... would call' net.cfg train.data -optimizers sgd=bad.safetensors
refused 'a missing model' 'no.safetensors: ' net.cfg train.data -optimizers mine=no.safetensors
refused 'a broken model' 'bad.safetensors: ' net.cfg train.data -optimizers mine=bad.safetensors
refused 'no darknet' 'no-darknet: cannot be run: No such file' net.cfg train.data -darknet no-darknet
refused 'sizes 0' '-batch-sizes 0: expected' net.cfg train.data -batch-sizes 1,0
refused 'no baseline' 'no-baseline' net.cfg train.data -baseline no-baseline
! "$compare" net.cfg train.data -out 'a b' >out 2>err || wrong 'a blank in -out is accepted'
grep -q '^compare: a b: .*blank' err || wrong "a blank in -out: $(tail -n 1 err)"

# What only darknet sees, at the first batch: its last line.
failed() {  # WHAT MESSAGE ARGUMENTS...
    local what=$1 message=$2 status=0
    shift 2
    (trap '' XFSZ; ulimit -f "${most:-unlimited}"
     "$compare" "$@" -out failed -optimizers sgd -rates 1e-3) >out 2>err || status=$?
    [ "$status" = 1 ] || wrong "$what: exit status $status"
    [ "$(grep -c '^compare: ' err)" = 1 ] && grep -q "^compare: failed/runs/.*$message" err || wrong "$what: $(head -n 2 err)"
    rm -rf failed
}
sed 's/^filters=4/filters=0/' net.cfg >layer.cfg
failed 'a layer that cannot be' 'filters=0 must be at least 1' layer.cfg train.data
{ cat train.list; echo "$PWD/images/0000_plum.ppm"; } >plum.list
cp images/0000_apple.ppm images/0000_plum.ppm
sed 's/=train\.list/=plum.list/' train.data >plum.data
{ cat train.list; echo "$PWD/images/9999_apple.ppm"; } >absent.list
sed 's/=train\.list/=absent.list/' train.data >absent.data
failed 'an image of no class' 'plum' net.cfg plum.data
failed 'a missing image' 'images/9999_apple.ppm' net.cfg absent.data
most=4 failed 'a full disk' 'loss.csv: .*too large' net.cfg train.data -batches 400

[ "$failures" = 0 ] && echo 'compare gives what darknet gives, whatever happens to it'
[ "$failures" = 0 ]
