#!/bin/bash
# The options of [net]: every mistake gets one line with the cfg's name and line, and status 1; what
# the host alone would not know gets a warning. Then mutated [net] sections: clean errors or a training.
#   FUZZ=60     how many; tests/run.sh has the number of the long version
set -euo pipefail

. tests/trainers.sh
fuzz=${FUZZ:-60}

make_images 4 20
{ net | sed '/^seed=/d; s/^max_batches=.*/max_batches=1/'; classifier_layers; } >good.cfg

# with LINES...: good.cfg with LINES added under [net], on lines 2 and following.
with() { { head -n 1 good.cfg; printf '%s\n' "$@"; tail -n +2 good.cfg; } >net.cfg; }

refused() {  # LINES MESSAGE: refused with one line that says MESSAGE
    with "$1"
    "$darknet" classifier train train.data net.cfg >out 2>err && { wrong "accepted: $1"; return; }
    [ "$(grep -c '^darknet: ' err)" = 1 ] && grep -qE "^darknet: $2" err ||
        wrong "$1 says: $(tail -n 1 err)"
}

accepted() {  # LINES OUTPUT
    with "$1"
    "$darknet" classifier train train.data net.cfg >out 2>err || { wrong "$1: $(tail -n 1 err)"; return; }
    cat err >>out
    grep -qE "$2" out || wrong "$1 does not say: $2"
}

accepted 'optimizer=hrnn' '^Optimizer: hrnn, model .*weights/hrnn.safetensors, 29184 bytes of state, 126 parameters$'
accepted $'optimizer=hrnn\noptimizer_rate=1e-5' '^Optimizer: hrnn, .*rate 1e-05'
accepted $'optimizer=sgd\nseed=18446744073709551615' '^Seed: 18446744073709551615$'
accepted $'optimizer=hrnn\noptimizer_state=compact' '^Optimizer: hrnn, .*, 15360 bytes of state, 126 parameters$'
accepted $'optimizer=hrnn\noptimizer_state=full' '^Optimizer: hrnn, .*, 29184 bytes of state, 126 parameters$'
accepted 'optimizer=rmsprop' '^Seed: [0-9]+$'
accepted 'adam=1' '^Optimizer: adam, rate 0.01'
accepted 'mosaic=1' '^net.cfg:2: warning: unknown option mosaic in \[net\]'
accepted 'seen=0' '^net.cfg:2: warning: unknown option seen'
accepted 'nonsense=1' '^net.cfg:2: warning: unknown option nonsense'
# What stands in cfgs written for the host keeps working: leftovers of another policy, comments.
accepted $'optimizer=hrnn\nstep=100' '^net.cfg:3: warning: unknown option step'
accepted $'optimizer=hrnn\nburn_in=2#comment' '^Optimizer: hrnn'

refused 'optimizer=hrn' 'net.cfg:2: optimizer=hrn, expected one of sgd, adam, rmsprop, hrnn'
refused 'optimiser=hrnn' 'net.cfg:2: unknown option optimiser in \[net\], did you mean optimizer\?'
refused 'optimzer=hrnn' 'net.cfg:2: unknown option optimzer .*did you mean optimizer\?'
refused $'optimizer=hrnn\noptimizer_weight=x' 'net.cfg:3: unknown option optimizer_weight .*optimizer_weights\?'
refused $'optimizer=hrnn\noptimizer=hrnn' 'net.cfg:3: optimizer stands in \[net\] twice, first on line 2'
refused $'optimizer=hrnn\noptimizer_weights=/no/such.safetensors' 'net.cfg:3: /no/such.safetensors'
refused $'optimizer=hrnn\noptimizer_weights=good.cfg' 'net.cfg:3: good.cfg'
refused $'optimizer=adam\noptimizer_weights=good.cfg' 'net.cfg:3: optimizer_weights= goes with optimizer=hrnn'
refused $'optimizer=hrnn\noptimizer_state=small' 'net.cfg:3: optimizer_state=small, expected full or compact'
refused $'optimizer=adam\noptimizer_state=compact' 'net.cfg:3: optimizer_state= goes with optimizer=hrnn'
refused $'optimizer=hrnn\noptimizer_schedule=sgdr' 'net.cfg:3: optimizer_schedule=sgdr, expected model or cfg'
refused $'optimizer=hrnn\noptimizer_weights='"$root"$'/weights/hrnn-2017.safetensors\noptimizer_schedule=model' \
    'net.cfg:4: optimizer_schedule=model, but .*hrnn-2017.safetensors has no schedule of its own'
refused $'optimizer=adam\noptimizer_schedule=cfg' 'net.cfg:3: optimizer_schedule= goes with optimizer=hrnn'
refused 'optimizer_state=compact' 'net.cfg:2: optimizer_state stands in \[net\] without optimizer='
refused 'optimizer_rate=1' 'net.cfg:2: optimizer_rate stands in \[net\] without optimizer='
refused $'optimizer=hrnn\noptimizer_rate=fast' 'net.cfg:3: optimizer_rate=fast, expected a number'
refused $'optimizer=hrnn\noptimizer_rate=0' 'net.cfg:3: optimizer_rate=0, expected a number from 1e-12 to 1'
refused $'optimizer=sgd\noptimizer_rate=1e-3' 'net.cfg:3: optimizer_rate= is hrnn.s starting rate'
refused 'seed=-1' 'net.cfg:2: seed=-1, expected a whole number'
refused 'seed=12x' 'net.cfg:2: seed=12x, expected a whole number'
refused 'seed=18446744073709551616' 'net.cfg:2: seed=18446744073709551616, expected a whole number'
refused 'optimizer_log=/no/such/folder/log.csv' 'net.cfg:2: optimizer_log=/no/such/folder/log.csv cannot be written'
refused $'policy=steps\nsteps=1,2\nscales=.1' 'net.cfg:4: scales has 1 numbers, expected as many as steps, 2'
refused 'burn_in=1e3' 'net.cfg:2: burn_in=1e3, expected a whole number'
refused $'adam=1\noptimizer_rate=1#2' 'net.cfg:3: optimizer_rate=1#2, expected a number'
sed 's/^learning_rate=.*/learning_rate=-1/' -i good.cfg
refused 'adam=1' 'net.cfg:2: optimizer=adam: rate is -1'
sed 's/^learning_rate=.*/learning_rate=0.01/; s/^max_batches=.*//' -i good.cfg
refused 'policy=poly' 'net.cfg:2: policy=poly divides by max_batches'
sed '2i max_batches=1' -i good.cfg

# A log is no other file, and a fresh training starts it afresh; inference needs no model.
printf 'precious\n' >precious
refused 'optimizer_log=precious' 'precious: is not an optimizer_log'
grep -qx precious precious || wrong 'optimizer_log= overwrote another file'
accepted 'optimizer_log=log.csv' '^Seed'
accepted 'optimizer_log=log.csv' '^Seed'
[ "$(wc -l <log.csv)" = 2 ] || wrong "a fresh training keeps $(wc -l <log.csv) lines of a log, expected 2"
accepted 'optimizer=hrnn' '^Optimizer'
mkdir away
cp "$darknet" away
(unset HRNN_WEIGHTS; away/darknet classifier predict train.data net.cfg backup/net.weights \
    images/0000_apple.ppm) >out 2>err || wrong "inference without a model: $(tail -n 1 err)"
with seed=1
"$darknet" classifier train train.data net.cfg backup/net.weights >out 2>err
grep -q '^warning: backup/net.weights.optimizer is not used: net.cfg has no optimizer=' err ||
    wrong 'a sidecar without optimizer= is passed over in silence'

sed -i '/^batch=/d; /^subdivisions=/d' good.cfg
refused $'batch=0' 'net.cfg:2: batch=0, expected'
refused $'batch=many' 'net.cfg:2: batch=many, expected'
refused $'batch=4\nsubdivisions=0' 'net.cfg:3: subdivisions=0, expected'
refused $'batch=4\nsubdivisions=8' 'net.cfg:3: subdivisions=8 of batch=4 leave no image'
refused $'batch=2\nlearning_rate=nan' 'net.cfg:3: learning_rate=nan, expected a number'

# --- mutated sections ---
{ net optimizer=hrnn optimizer_rate=1e-4 optimizer_log=log.csv policy=steps steps=1,2 scales=.1,.1 burn_in=2 \
    | sed 's/^max_batches=.*/max_batches=1/'; } >section
mutate() {  # SEED: one to three changes of a section
    LC_ALL=C awk -v seed="$1" '
        function pick(n) { return int(rand() * n) }
        function value(  v) {
            split("|0|-1|1|2|7|1e9|-1e9|1e-40|99999999999999999999|nan|inf|x|,|1,,2|=|==|[|]|#|%s%n|0x10|1e400|hrnn|adam|sgd", v, "|")
            return v[1 + pick(26)]
        }
        BEGIN { srand(seed) }
        { line[NR] = $0 }
        END {
            for (c = 1 + pick(3); c > 0; c--) {
                i = 2 + pick(NR - 1); at = index(line[i], "="); how = pick(8)
                if (how == 0) line[i] = ""
                else if (how == 1) line[i] = line[i] "\n" line[2 + pick(NR - 1)]
                else if (how <= 4) line[i] = substr(line[i], 1, at) value()
                else if (how == 5) line[i] = substr(line[i], 1, pick(length(line[i]) + 1))
                else if (how == 6) { p = 1 + pick(length(line[i])); line[i] = substr(line[i], 1, p - 1) \
                    sprintf("%c", 1 + pick(254)) substr(line[i], p + 1) }
                else { k = sprintf("%500s", ""); gsub(/ /, "9", k); line[i] = line[i] k }
            }
            for (i = 1; i <= NR; i++) print line[i]
        }' section
    classifier_layers
}
declare -A ends=([0]=0 [1]=0)
for ((i = 0; i < fuzz; i++)); do
    mutate "$((i + ${SEED:-0}))" >net.cfg
    rm -rf backup
    timeout -s KILL 20 "$darknet" classifier train train.data net.cfg >out 2>err && status=0 || status=$?
    [ "$status" != 137 ] || ! grep -q ' avg, ' out || status=0 # it trains, for very many batches
    [ "$status" != 3 ] || ! grep -q ' has diverged' err || status=0
    if [ "$status" -gt 1 ] || { [ "$status" = 1 ] && ! grep -qE '^[^ ].*' <(tail -n 1 err); } ||
        grep -qE 'Sanitizer|runtime error' err; then
        wrong "mutated section $i: status $status: $(tail -n 3 err | tr '\n' ' ')"
        cp net.cfg "$build/e2e_options.$i.cfg"
    fi
    ends[$status]=$((${ends[$status]:-0} + 1))
done
echo "$fuzz mutated sections: ${ends[0]} trained, ${ends[1]} refused"
[ "$fuzz" -lt 20 ] || { [ "${ends[0]}" -gt 0 ] && [ "${ends[1]}" -gt 0 ]; } || wrong 'the mutations are all alike'

[ "$failures" = 0 ] && echo 'options are read or refused'
[ "$failures" = 0 ]
