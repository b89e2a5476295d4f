#!/bin/bash
# build/metatrain: the same bits with 1 and 2 threads, after stops, kills and resumes; what does not belong or
# cannot be written is one clear line; the meta-loss falls; tools/plot-metatrain.sh draws it.
#   KILLS=3     kills for each estimator; tests/run.sh has the number of the long version
set -euo pipefail

. tests/work.sh metatrain model-info
train=$build/metatrain info=$build/model-info
kills=${KILLS:-3}
RANDOM=${SEED:-$$}
echo "SEED=$RANDOM"

digest() { "$info" "$1" | sed -n 's/.*digest \(.*\)/\1/p'; }
rows() { cut -d, -f1,3-9,11- "$1"; } # without times

corpus='paper:bowl,norm,sum, noisy,functions'
options=(-corpus "$corpus" -pairs 5 -episode 10:120 -truncation 15 -unroll-tail 9 -unrolls 5 -log-every 4)

# --- threads ---
for estimator in es pes nres bptt; do
    for threads in 1 2; do
        "$train" "${options[@]}" -estimator $estimator -threads $threads -outer-steps 30 \
            -out $estimator-$threads.safetensors >out 2>err || wrong "$estimator: $(tail -n 1 err)"
    done
    [ "$(digest $estimator-1.safetensors)" = "$(digest $estimator-2.safetensors)" ] ||
        wrong "$estimator: other bits with 2 threads"
    cmp -s <(rows $estimator-1.csv) <(rows $estimator-2.csv) || wrong "$estimator: another CSV with 2 threads"
done
[ "$(digest es-1.safetensors)" != "$(digest pes-1.safetensors)" ] || wrong 'es and pes give the same'
[ "$(grep -c '^[0-9]' es-1.csv)" = 7 ] || wrong 'not a row every 4 outer steps'
grep -qE '^28: -?[0-9.]+, .* of [0-9]+ diverged, .* steps/s, 0:00:00 left \| ' out || wrong "progress: $(tail -n 2 out)"
"$train" "${options[@]}" -estimator es -seed 2 -outer-steps 30 -out other.safetensors >out 2>err
[ "$(digest es-1.safetensors)" != "$(digest other.safetensors)" ] || wrong 'two seeds give the same'

# --- the recipe ---
"$info" pes-1.safetensors >out
for text in 'outer_steps   30' "corpus        $corpus" 'seed          1' 'format        hrnn-3' \
    "-corpus \"$corpus\" " ' -estimator pes ' ' -episode 10:120 '; do
    grep -qF -e "$text" out || wrong "model-info does not say \"$text\""
done

# --- a stop saves and a resume goes on, to the bit ---
wait_for() {  # FILE ROWS: until the CSV has so many
    for ((i = 0; i < 600; ++i)); do
        [ "$(cat "$1" 2>/dev/null | grep -c '^[0-9]')" -lt "$2" ] || return 0
        sleep .05
    done
    wrong "$1 has not $2 rows after 30 s"
}
for signal in INT TERM; do
    rm -f stop.*
    # A shell's background processes ignore SIGINT; the program catches it all the same.
    "$train" "${options[@]}" -estimator pes -outer-steps 100000 -out stop.safetensors >out 2>err &
    child=$!
    wait_for stop.csv 2
    kill -$signal $child
    wait $child && status=0 || status=$?
    [ $status = "$([ $signal = INT ] && echo 130 || echo 143)" ] || wrong "exit status $status after SIG$signal"
    steps=$(sed -n 's/^Stopped after outer step \([0-9]*\): stop.safetensors$/\1/p' out)
    [ -n "$steps" ] || wrong "does not say where it stopped: $(tail -n 1 out)"
    "$train" -resume stop.safetensors -outer-steps $((steps + 21)) >out 2>err || wrong "resume: $(tail -n 1 err)"
    grep -q "^Goes on after outer step $steps$" out || wrong "does not say where it goes on: $(head -n 1 out)"
    rm -f whole.*
    "$train" "${options[@]}" -estimator pes -outer-steps $((steps + 21)) -out whole.safetensors >out 2>err
    [ "$(digest stop.safetensors)" = "$(digest whole.safetensors)" ] || wrong "other bits after SIG$signal"
    cmp -s <(rows stop.csv) <(rows whole.csv) || wrong "another CSV after SIG$signal"
done

# --- kills at random moments, during saves too ---
killed=0
for estimator in es pes nres bptt; do
    rm -f whole.* kill.*
    "$train" "${options[@]}" -estimator $estimator -outer-steps 120 -save-minutes 0 -out whole.safetensors >out 2>err
    "$train" "${options[@]}" -estimator $estimator -outer-steps 1 -save-minutes 0 -out kill.safetensors >out 2>err
    for ((i = 0; i < kills; ++i)); do
        "$train" -resume kill.safetensors -outer-steps 120 >out 2>err &
        child=$!
        sleep "0.$((RANDOM % 9))$((RANDOM % 10))"
        kill -KILL $child 2>/dev/null && killed=$((killed + 1))
        wait $child 2>/dev/null || true
    done
    "$train" -resume kill.safetensors -outer-steps 120 >out 2>err || wrong "$estimator: $(tail -n 1 err)"
    [ "$(digest kill.safetensors)" = "$(digest whole.safetensors)" ] || wrong "$estimator: other bits after kills"
    cmp -s <(rows kill.csv) <(rows whole.csv) || wrong "$estimator: another CSV after kills"
done
echo "$killed kills"

# --- what is refused: one line, nothing written ---
refused() { refused_by metatrain "$@"; }
refused 'an unknown corpus' 'no corpus "narrow", expected paper' -corpus narrow -out a.safetensors
refused 'an unknown group' 'names a group' -corpus paper:bowls -out a.safetensors
refused 'no file' 'expected -out FILE' -corpus paper
refused 'a folder that is not there' 'nowhere/a.safetensors' -corpus paper:bowl -out nowhere/a.safetensors
refused 'a model that is there' 'es-1.safetensors: exists' -corpus paper:bowl -out es-1.safetensors
refused 'a range the wrong way' '-episode is "9:3"' -episode 9:3 -out a.safetensors
refused 'half a pair' '-pairs is "1.5", expected a whole number' -pairs 1.5 -out a.safetensors
refused 'an unknown estimator' '-estimator is "sgd", expected es|pes|nres|bptt' -estimator sgd -out a.safetensors
refused 'an endless cosine' '-schedule cosine needs -outer-steps' -corpus paper:bowl -schedule cosine -out a.safetensors
refused 'an adjoint of hrnn-2' '-estimator bptt needs -format hrnn-1' -corpus paper:bowl -estimator bptt \
    -format hrnn-2 -out a.safetensors
refused 'a limit of hrnn-1' '-lr-limit needs -format hrnn-2' -corpus paper:bowl -format hrnn-1 -lr-limit 0.3 -out a.safetensors
refused 'an unknown feature' '-without names "luck"' -corpus paper:bowl -without luck -out a.safetensors
refused 'another corpus on a resume' '-corpus cannot change' -resume es-1.safetensors -corpus wide
refused 'a resume of nothing' 'nothing.safetensors.checkpoint' -resume nothing.safetensors
refused 'a start from nothing' 'nothing.safetensors' -corpus paper:bowl -start nothing.safetensors -out a.safetensors
refused 'a start from a checkpoint' 'format is "metatrain-1", expected "hrnn-1"' -corpus paper:bowl \
    -start es-1.safetensors.checkpoint -out a.safetensors
[ ! -e a.safetensors ] && [ ! -e a.csv ] && [ ! -e a.safetensors.checkpoint ] || wrong 'a refused run left files'

checkpoint=pes-1.safetensors.checkpoint
size=$(stat -c %s $checkpoint)
damaged() {  # WHAT: copy.safetensors.checkpoint is refused, and stays as it is
    local before
    before=$(md5sum <copy.safetensors.checkpoint)
    refused "$1" 'copy.safetensors.checkpoint' -resume copy.safetensors
    [ "$(md5sum <copy.safetensors.checkpoint)" = "$before" ] || wrong "$1: was changed"
}
for bytes in 0 7 200 $((size / 2)) $((size - 1)); do
    head -c "$bytes" $checkpoint >copy.safetensors.checkpoint
    damaged "a checkpoint cut to $bytes bytes"
done
for ((i = 0; i < 6; i++)); do
    cp $checkpoint copy.safetensors.checkpoint
    at=$(((RANDOM * 32768 + RANDOM) % size))
    byte=$(od -An -t u1 -j $at -N 1 $checkpoint)
    printf "\\x$(printf %02x $((byte ^ 1 << RANDOM % 8)))" |
        dd of=copy.safetensors.checkpoint bs=1 seek=$at conv=notrunc status=none
    damaged "a checkpoint with a flipped bit at $at"
done

# --- a full disk: one line, and the checkpoint before stays ---
cp $checkpoint full.safetensors.checkpoint
(trap '' XFSZ; ulimit -f 1; exec "$train" -resume full.safetensors -outer-steps 40 >out 2>err) && wrong 'a full disk is not noticed'
grep -q '^metatrain: full.* cannot be written' err || wrong "a full disk: $(cat err)"
cmp -s full.safetensors.checkpoint $checkpoint || wrong 'a full disk cost the checkpoint'

# --- a start from a model keeps its clips and features ---
"$train" -corpus paper:bowl -start "$root/weights/hrnn.safetensors" -pairs 2 -episode 5:9 -rate 1e-9 -outer-steps 2 \
    -out started.safetensors >out 2>err || wrong "a start from the shipped model: $(tail -n 1 err)"
"$info" started.safetensors >out
grep -qE '^  started_from +hrnn.safetensors \([0-9a-f]{32}\): ' out || wrong "$(grep started_from out)"
grep -qE '^  max_log_lr +4$' out && grep -qE '^  without +attention$' out || wrong 'the start lost its metadata'

# --- the limit of the learning rate is trained, or held ---
limit() {  # FILE: log_lr.limit; its place among the tensors is in the header
    local header at
    header=$(od -An -t u8 -N 8 "$1" | tr -d ' ')
    at=$(head -c $((header + 8)) "$1" | tail -c +9 | grep -oE '"log_lr.limit":\{[^}]*"data_offsets":\[[0-9]+' | grep -oE '[0-9]+$')
    od -An -t f4 -j $((header + 8 + at)) -N 4 "$1" | tr -d ' '
}
for options in '' '-lr-limit 0.25' '-lr-limit 0.25 -weight-decay 9'; do
    rm -f limit.*
    "$train" -corpus paper:bowl -pairs 2 -episode 5:9 -outer-steps 3 $options -out limit.safetensors >out 2>err ||
        wrong "$options: $(tail -n 1 err)"
    if [ "$options" ]; then
        [ "$(limit limit.safetensors)" = 0.25 ] || wrong "$options: the limit is $(limit limit.safetensors)"
    else
        [[ $(limit limit.safetensors) = 0.[34]* && $(limit limit.safetensors) != 0.4 ]] ||
            wrong "the limit, $(limit limit.safetensors), is not trained"
    fi
done

# --- it learns ---
"$train" -corpus paper:bowl -pairs 16 -episode 20:40 -rate 3e-3 -warm-up 10 -sigma 0.02 -log-every 50 -outer-steps 200 \
    -out learnt.safetensors >out 2>err || wrong "$(tail -n 1 err)"
awk -F, '$1 == 50 { first = $3 } $1 == 200 { last = $3 } END { exit !(last < 2 * first && first < 0) }' learnt.csv ||
    wrong "the meta-loss does not fall: $(cut -d, -f1,3 learnt.csv | tr '\n' ' ')"

# --- its picture ---
if command -v gnuplot >/dev/null; then
    "$root/tools/plot-metatrain.sh" -o one.png -t 'A "title"' es-1.csv || wrong 'no picture of one'
    "$root/tools/plot-metatrain.sh" -o two.png -x hours first=es-1.csv learnt.csv || wrong 'no picture of two'
    for picture in one.png two.png; do
        head -c 4 $picture | grep -q PNG && [ "$(stat -c %s $picture)" -gt 10000 ] || wrong "$picture is empty"
    done
    "$root/tools/plot-metatrain.sh" -o none.png out 2>err && wrong 'draws what is not a CSV'
    grep -q '^plot-metatrain: out: not the progress' err || wrong "$(cat err)"
fi

[ "$failures" = 0 ] && echo 'meta-training is exact, and what does not belong is refused'
[ "$failures" = 0 ]
