#!/bin/bash
# metatrain on 1, 2 and 4 ranks of OpenMPI: the bits of the program without MPI; stops and resumes, with another
# number of ranks too; an error is one line.
set -euo pipefail

. tests/work.sh tests/metatrain-mpi metatrain model-info
train=$build/tests/metatrain-mpi alone=$build/metatrain info=$build/model-info
if ! command -v mpirun >/dev/null; then
    echo "mpirun is not installed: tools/install-packages.sh mpi"
    exit 77
fi
# Tests also run in containers, as root and with fewer cores than ranks.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export TMPDIR=$work
mpi=(--oversubscribe --mca btl self,vader)

digest() { "$info" "$1" | sed -n 's/.*digest \(.*\)/\1/p'; }
rows() { cut -d, -f1,3-9,11- "$1"; } # without times
ranks() {  # N OPTIONS...
    local n=$1
    shift
    mpirun "${mpi[@]}" -np "$n" "$train" -threads 1 "$@"
}

options=(-corpus 'paper:bowl,norm,functions' -pairs 5 -episode 10:120 -truncation 15 -unroll-tail 9 -unrolls 5 -log-every 4)
for estimator in es pes nres bptt; do
    "$alone" "${options[@]}" -estimator $estimator -outer-steps 16 -out $estimator.safetensors >out 2>err ||
        wrong "$estimator: $(tail -n 1 err)"
    for n in 1 2 4; do
        ranks $n "${options[@]}" -estimator $estimator -outer-steps 16 -out $estimator-$n.safetensors >out 2>err ||
            wrong "$estimator on $n ranks: $(tail -n 1 err)"
        [ "$(digest $estimator.safetensors)" = "$(digest $estimator-$n.safetensors)" ] ||
            wrong "$estimator: other bits on $n ranks"
        cmp -s <(rows $estimator.csv) <(rows $estimator-$n.csv) || wrong "$estimator: another CSV on $n ranks"
        [ "$(grep -c '^16: ' out)" = 1 ] || wrong "$estimator: $(grep -c '^16: ' out) ranks report"
    done
done

# --- on from 2 ranks to 3, and to none ---
for estimator in es pes bptt; do
    ranks 2 "${options[@]}" -estimator $estimator -outer-steps 7 -out on.safetensors >out 2>err
    ranks 3 -resume on.safetensors -outer-steps 11 >out 2>err || wrong "on 3 ranks: $(tail -n 1 err)"
    "$alone" -resume on.safetensors -outer-steps 16 >out 2>err || wrong "alone: $(tail -n 1 err)"
    [ "$(digest on.safetensors)" = "$(digest $estimator.safetensors)" ] || wrong "$estimator: other bits after resumes"
    rm on.*
done

# --- a signal to mpirun, or to one rank, stops all, saved ---
for target in mpirun rank; do
    rm -f stop.* whole.*
    mpirun "${mpi[@]}" -np 2 "$train" -threads 1 "${options[@]}" -estimator pes -outer-steps 100000 -out stop.safetensors \
        >out 2>err &
    child=$! one=$child signal=USR1 want=138
    for ((i = 0; i < 600; ++i)); do
        [ "$(cat stop.csv 2>/dev/null | grep -c '^[0-9]')" -lt 2 ] || break
        sleep .05
    done
    if [ $target = rank ]; then
        one=$(ps -o pid= --ppid $child | tail -n 1) signal=TERM want=143
    fi
    kill -$signal "$one"
    wait $child && status=0 || status=$?
    [ $status = $want ] || wrong "exit status $status after SIG$signal to $target"
    steps=$(sed -n 's/^Stopped after outer step \([0-9]*\): stop.safetensors$/\1/p' out)
    [ -n "$steps" ] || wrong "does not say where it stopped: $(tail -n 1 out)"
    "$alone" -resume stop.safetensors -outer-steps $((steps + 9)) >out 2>err || wrong "resume: $(tail -n 1 err)"
    "$alone" "${options[@]}" -estimator pes -outer-steps $((steps + 9)) -out whole.safetensors >out 2>err
    [ "$(digest stop.safetensors)" = "$(digest whole.safetensors)" ] || wrong 'other bits after a stop'
done

# --- errors: one line of ours, on every rank the same end ---
ranks 2 -corpus narrow -out a.safetensors >out 2>err && wrong 'an unknown corpus is accepted'
[ "$(grep -c '^metatrain: no corpus "narrow"' err)" = 1 ] || wrong "an unknown corpus: $(cat err)"
ranks 2 "${options[@]}" -out nowhere/a.safetensors >out 2>err && wrong 'a folder that is not there is accepted'
[ "$(grep -c '^metatrain: .*nowhere/a.safetensors' err)" = 1 ] || wrong "a folder that is not there: $(cat err)"

[ "$failures" = 0 ] && echo 'ranks change nothing'
[ "$failures" = 0 ]
