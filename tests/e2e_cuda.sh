#!/bin/bash
# Device cuda as far as a machine without a GPU can show it: the golden traces through the kernels on
# an emulated GPU and through the vector code at the width of a CUDA thread. With GPU=1 and a GPU, there
# too.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
traces=(tests/golden/trace-*.safetensors)
others=(tests/golden/adjoint-*.safetensors tests/golden/unroll-*.safetensors)
failures=0

wrong() {
    echo "$*"
    failures=$((failures + 1))
}

"$build/tests/lanes-scalar" || wrong "a function of lanes.h at width 1"
"$build/tests/rows-scalar" || wrong "a compact state at width 1"
"$build/tests/replay-scalar" "${traces[@]}" "${others[@]}" || wrong "a trace at width 1"
"$build/tests/replay-emulated" --device cuda "${traces[@]}" || wrong "a trace on the emulated GPU"
"$build/tests/replay-emulated" "${traces[@]}" "${others[@]}" || wrong "a trace on the CPU beside it"
for file in "${others[@]}"; do
    message=$("$build/tests/replay-emulated" --device cuda "$file" 2>&1)
    [ $? = 2 ] && [ "$message" = "replay: $file: adjoints and unrolls run on device cpu, found \"cuda\"" ] ||
        wrong "$file on device cuda: $message"
done

# Where nvcc is, it takes the kernels without a warning, whatever GPU= this build has.
nvcc=$(command -v nvcc || command -v /usr/local/cuda/bin/nvcc)
for kernels in src/*/*.cu; do
    [ -z "$nvcc" ] || "$nvcc" -std=c++17 --Werror all-warnings --compiler-options -Wall,-Wextra -DGPU -Isrc \
        -c "$kernels" -o "$build/tests/$(basename "$kernels").o" || wrong "nvcc $kernels"
done

# The program itself: with a GPU it passes, without one it says so in one line.
message=$("$build/dev/replay" --device cuda "${traces[0]}" 2>&1)
case $?:$message in
    0:*" ok "*)
        "$build/dev/replay" --device cuda "${traces[@]}" || wrong "a trace on the GPU"
        "$build/tests/cuda-on-gpu" || wrong "the GPU and the CPU differ"
        ;;
    2:'replay: device "cuda", expected cpu (cuda needs a build with GPU=1)') echo "$message" ;;
    2:'replay: device "cuda": no GPU can be used ('*')') echo "$message" ;;
    *) wrong "replay --device cuda: $message" ;;
esac

[ $failures = 0 ] || exit 1
echo "the kernels and the CPU agree with the golden traces"
