#!/bin/bash
# build/metatrain -evaluate: the same report with 1 and 2 threads; its summary is what its CSV says; the horizon
# is the recipe's; a stop prints what is done and writes nothing; what does not belong is one clear line;
# tools/plot-evaluation.sh draws it.
set -euo pipefail

. tests/work.sh metatrain
train=$build/metatrain

"$train" -corpus paper:bowl -pairs 2 -episode 5:12 -outer-steps 2 -out model.safetensors >out 2>err ||
    wrong "no model: $(tail -n 1 err)"

# --- threads, seeds ---
few=(-corpus 'paper:bowl,norm,sum, noisy,log' -seeds 2 -steps 60)
for threads in 1 2; do
    "$train" -evaluate model.safetensors "${few[@]}" -threads $threads -out of-$threads >out-$threads 2>err ||
        wrong "$(tail -n 1 err)"
done
grep -q '^848 of 848 runs' err || wrong "no progress: $(cat err)"
for file in report.txt rows.csv sweep.csv lengths.csv starts.csv; do
    cmp of-1/$file of-2/$file || wrong "$file: other bytes with 2 threads"
done
cmp -s <(head -n -2 out-1) of-1/report.txt || wrong 'prints another report than it writes'
grep -q '^Written to of-1$' out-1 || wrong "does not say where it writes: $(tail -n 1 out-1)"
"$train" -evaluate model.safetensors "${few[@]}" -seed 2 -out seed >out 2>err || wrong "$(tail -n 1 err)"
cmp -s of-1/rows.csv seed/rows.csv && wrong 'two seeds give the same'

# --- what the report says is what the CSV says: rows, wins and ties over adam, over rmsprop, over both ---
counted=$(awk -F'"' 'NR > 1 { split(substr($5, 2), v, ","); a = v[8]; r = v[13]; rows++; div += v[3]
    aw += a > 0; at += a == 0; rw += r > 0; rt += r == 0; both += a > 0 && r > 0
    if (a != (v[7] < 0.999 ? 1 : v[7] > 1.001 ? -1 : 0)) print "an outcome is not of its ratio" }
    END { print rows, div, aw, at, rw, rt, both }' of-1/rows.csv)
printed=$(awk '$1 == "all" { print $2, $3, $6, $7, $10, $11, $13 }' of-1/report.txt)
[ "$counted" = "$printed" ] || wrong "the summary is \"$printed\", the rows \"$counted\""
[ "${counted%% *}" = 15 ] || wrong "not all rows of the groups: $counted"
# the best of its rates, from the sweep
awk -F'"' 'FNR == 1 { next }
    NR == FNR { split(substr($5, 2), v, ","); key = $2 "," v[1]
        if (!(key in best) || v[4] + 0 < best[key] + 0) { best[key] = v[4]; rate[key] = v[2] } next }
    { split(substr($5, 2), v, ",")
      if (v[4] != rate[$2 ",adam"] || v[5] != best[$2 ",adam"] || v[9] != rate[$2 ",rmsprop"]) { print $2; bad = 1 } }
    END { exit bad }' of-1/sweep.csv of-1/rows.csv || wrong 'a rate is not the best of its row'
[ "$(wc -l <of-1/sweep.csv)" = $((1 + 15 * 2 * 11)) ] || wrong 'not every rate of every row'

# --- the horizon is the recipe's, or given ---
[ "$(awk -F'"' 'NR > 1 { split($5, v, ","); print v[3] }' of-1/lengths.csv | sort -nu | tr '\n' ' ')" = '12 60 300 ' ] ||
    wrong 'not 1, 5 and 25 times the longest episode'
"$train" -evaluate model.safetensors -corpus paper:bowl -parts lengths -seeds 1 -horizon 4 >out 2>err || wrong "$(cat err)"
grep -q '^ *100 ' model.evaluation/report.txt || wrong 'not the horizon that was given, or not beside the model'
[ ! -e model.evaluation/rows.csv ] || wrong 'evaluates a part that was not asked for'
"$train" -evaluate model.safetensors -corpus paper -rows 1 -parts starts -seeds 1 -steps 3 >out 2>err || wrong "$(cat err)"
[ "$(wc -l <model.evaluation/starts.csv)" = $((1 + 17 * 5)) ] || wrong 'not one row of each group'
[ ! -e model.evaluation/lengths.csv ] || wrong 'two evaluations are mixed in a folder'

# --- a stop ---
"$train" -evaluate model.safetensors -corpus paper:bowl -seeds 900 -steps 20000 -out stopped >out 2>stop-err &
child=$!
for ((i = 0; i < 600; ++i)); do
    ! grep -qs 'runs' stop-err || break
    sleep .05
done
kill -INT $child
wait $child && status=0 || status=$?
[ $status = 130 ] || wrong "exit status $status after SIGINT"
grep -q '^Unfinished: [0-9]* of [0-9]* runs' out && grep -q '^Stopped: nothing is written to stopped$' out ||
    wrong "does not say that it stopped: $(head -n 3 out)"
[ ! -e stopped ] || wrong 'a stop leaves a folder'

# --- what is refused: one line, nothing written ---
refused() { refused_by metatrain "$@"; }
shipped=$root/weights/hrnn.safetensors
cp "$shipped" untold.safetensors
refused 'a model that is not there' 'nothing.safetensors' -evaluate nothing.safetensors
refused 'a checkpoint' 'format is "metatrain-1"' -evaluate model.safetensors.checkpoint
refused 'an unknown corpus' 'no corpus "narrow"' -evaluate model.safetensors -corpus narrow -out a
refused 'an option of meta-training' '-pairs does not go with -evaluate' -evaluate model.safetensors -pairs 3
refused 'a resume' '-resume does not go with' -evaluate model.safetensors -resume model.safetensors
refused 'no evaluation' '-seeds goes with -evaluate only' -out a.safetensors -seeds 3
refused 'no seed' '-seeds is "0", expected a whole number' -evaluate model.safetensors -seeds 0
refused 'an unknown part' '-parts is "rows,cols", expected' -evaluate model.safetensors -parts rows,cols
refused 'a file for a folder' 'err: is not a folder' -evaluate model.safetensors -out err
if ! "$build/model-info" untold.safetensors | grep -q -e '-episode '; then
    refused 'an unknown horizon' 'does not say how long its episodes were; expected -horizon N' -evaluate untold.safetensors
fi
[ ! -e a ] && [ ! -e a.safetensors ] && [ ! -e untold.evaluation ] || wrong 'what was refused left files'

# --- its picture ---
if command -v gnuplot >/dev/null; then
    "$root/tools/plot-evaluation.sh" of-1 || wrong 'no picture'
    "$root/tools/plot-evaluation.sh" -o part.png -t 'A "title"' model.evaluation || wrong 'no picture of one part'
    for picture in of-1/evaluation.png part.png; do
        head -c 4 $picture | grep -q PNG && [ "$(stat -c %s $picture)" -gt 10000 ] || wrong "$picture is empty"
    done
    "$root/tools/plot-evaluation.sh" -o none.png . 2>err && wrong 'draws what is not an evaluation'
    grep -q '^plot-evaluation: .*no report.txt' err || wrong "$(cat err)"
fi

[ "$failures" = 0 ] && echo 'models are evaluated alike on any number of threads'
[ "$failures" = 0 ]
