#!/usr/bin/env bash
# Every check and every measurement of a build with CUDA, the most telling first, on a machine with nothing but a GPU, its
# driver, Python with NVIDIA's wheels of CUDA 13, and this checkout. Where there is a compiler:
#
#   cargo build --release --features cuda --config tools/cuda.toml
#   cargo test --release --features cuda --config tools/cuda.toml --test parity --no-run    # builds the tests
#   benches/gpu_check.sh --pack gpu-check.tar.xz                             # the program and its tests, in one file
#
# There:
#
#   benches/gpu_check.sh gpu-check.tar.xz results.tar.gz
#
# results.tar.gz has everything that was said and measured, and is whole after every step. The exit code is 1 if a step failed or
# no time was left for it. In the environment:
#
#   DEADLINE=420          seconds for everything; every step gets what is left
#   ONLY="doctor core"    these steps alone, by the beginnings of their names
#   MODEL=DIR SAE=DIR     a model and an SAE to open and time, instead of one of Gemma-2-2B's shape with random numbers
#   DEVICE=cpu            tries the script itself; the demo then stands for the large models
#
# Written where there was no GPU: it has not been run on one.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

# Newer PyTorch brings no libcurand, and candle wants it to open a card, though nothing here draws numbers there: one that does
# nothing, for machines without another.
spare() {
    mkdir -p "$1"
    for call in CreateGenerator DestroyGenerator SetStream SetPseudoRandomGeneratorSeed SetGeneratorOffset; do
        echo "int curand$call(void) { return 0; }"
    done | ${CC:-cc} -shared -fPIC -Wl,-soname,libcurand.so.10 -x c - -o "$1/libcurand.so.10" ||
        echo "no C compiler: the file has no spare libcurand.so.10" >&2
}
pack() {
    local target=${CARGO_TARGET_DIR:-$root/target}/${PROFILE:-release} folder newest
    folder=$(mktemp -d)
    mkdir "$folder/gpu-check"
    cp "$target/prunelens" "$folder/gpu-check/" || return 1
    # The newest: cargo keeps earlier ones beside it.
    newest=$(ls -t "$target"/deps/parity-* | grep -v '\.d$' | head -1)
    cp "$newest" "$folder/gpu-check/parity" || return 1
    strip "$folder"/gpu-check/* 2>/dev/null
    spare "$folder/gpu-check/spare/lib"
    # Both programs have the same demo, kernels and libraries in them: the window reaches from one to the other.
    tar cf - -C "$folder" gpu-check | xz -T1 --x86 --lzma2=preset=9e,dict=128MiB >"$1.new" && mv "$1.new" "$1" && ls -l "$1"
    local code=$?
    rm -rf "$folder"
    # Beside it the check takes no more of a checkout: `git sparse-checkout set benches tests/fixtures`.
    du -cb "$1" "$root/benches" "$root/tests/fixtures" | awk 'END { printf "%.1f MiB with benches and tests/fixtures\n", $1 / 1048576 }'
    return $code
}
if [ "${1:-}" = --pack ]; then
    [ $# = 2 ] || { echo "usage: gpu_check.sh --pack FILE.tar.xz" >&2; exit 2; }
    pack "$2"
    exit
fi
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: gpu_check.sh PROGRAMS [RESULTS.tar.gz], PROGRAMS a packed file or a folder; or --pack FILE.tar.xz" >&2
    exit 2
fi

started=$SECONDS
deadline=${DEADLINE:-420}
archive=$(realpath -m "${2:-gpu-check-results.tar.gz}")
work=$(mktemp -d)
results=$work/results
mkdir -p "$results" "$(dirname "$archive")"
python=$(command -v python3 || true)

# The archive is replaced as a whole, so that whoever stops this at any time has a good one.
keep() { tar czf "$archive.new" -C "$work" results && mv -f "$archive.new" "$archive"; }
say() { echo "$*" | tee -a "$results/summary.txt"; }
trap 'keep; rm -rf "$work"' EXIT
trap 'say "stopped after $((SECONDS - started)) s"; exit 130' INT TERM HUP

if [ -d "$1" ]; then
    bin=$(cd "$1" && pwd)
elif command -v xz >/dev/null; then
    tar xJf "$1" -C "$work" || exit 2
    bin=$work/gpu-check
else
    [ -n "$python" ] || { echo "$1: neither xz nor python3 is here to unpack it" >&2; exit 2; }
    "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$1" "$work" || exit 2
    bin=$work/gpu-check
fi

failed=()
# The seconds left for a step that may take so many.
left() {
    local left=$((deadline - (SECONDS - started)))
    echo $((left < $1 ? left : $1))
}
# A step's name, the seconds it may take, and what it runs; its output goes to a file of that name. 77 is a step that does not
# apply here and has said why.
step() {
    local name=$1 before=$SECONDS seconds code one
    seconds=$(left "$2")
    shift 2
    if [ -n "${ONLY:-}" ]; then
        for one in $ONLY; do [[ $name == "$one"* ]] && break; one=; done
        [ -n "$one" ] || return 0
    fi
    if [ "$seconds" -lt 3 ]; then
        say "LEFT OUT $name: the $deadline s are over"
        failed+=("$name")
        keep
        return 1
    fi
    if [ "$name" = "${LIVE:-}" ]; then
        timeout -k 3 "$seconds" bash -c '"$@"' step "$@" </dev/null 2>&1 | tee "$results/$name.txt"
        code=${PIPESTATUS[0]}
    else
        timeout -k 3 "$seconds" bash -c '"$@"' step "$@" </dev/null >"$results/$name.txt" 2>&1
        code=$?
    fi
    local took="$((SECONDS - before)) s"
    # Killed by its limit, not by something else.
    [ $code = 137 ] && [ $((SECONDS - before)) -ge "$seconds" ] && code=124
    case $code in
        0) say "ok $name, $took" ;;
        77) say "skipped $name: $(tail -1 "$results/$name.txt")" ;;
        124) say "TOO LONG $name, $took" ;;
        *)
            if [ $code -gt 128 ]; then say "CRASHED $name, signal $((code - 128)), $took"; else say "FAILED $name, exit code $code, $took"; fi
            [ "$name" = "${LIVE:-}" ] || tail -12 "$results/$name.txt" | cut -c1-200
            ;;
    esac
    keep
    [ $code = 0 ] || [ $code = 77 ] || { failed+=("$name"); return 1; }
}

export device=${DEVICE:-cuda} root bin results work python
export PRUNELENS_DEVICE=$device PRUNELENS_POISON=1
export PRUNELENS_FIXTURES=$root/tests/fixtures
export RUST_BACKTRACE=0
# The driver compiles the kernels for its card once, not in every program.
export CUDA_CACHE_PATH=$work/kernels CUDA_CACHE_MAXSIZE=4294967296
# Nothing is taken from earlier runs, nor left for later ones.
export XDG_STATE_HOME=$work/state XDG_CACHE_HOME=$work/cache

machine() {
    uname -a
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv
    [ -z "$python" ] || "$python" -m pip list 2>/dev/null | grep -i -e nvidia -e torch
    "$bin/prunelens" doctor --json
}
# The demo on one prompt by a device. What pruning decides is not taken over from the other one.
inspect() {
    XDG_CACHE_HOME=$work/cache-$1 "$bin/prunelens" inspect --device "$1" --dtype f32 --json "The quick brown fox jumps over the lazy dog." \
        >"$results/inspect-$1.json"
}
core() {
    # Pruned here, and not by what `inspect` kept.
    XDG_STATE_HOME=$work/state-$1 "$bin/prunelens" metrics core --no-cache --device "$1" --dtype f32 --rows 16 \
        --out "$work/core-$1" --json >"$results/core-$1.json"
}
# The answers of both devices by their numbers.
compare() {
    [ -n "$python" ] || { echo "no python3 to compare with"; return 77; }
    "$python" "$root/benches/compare.py" "$results/$1-cpu.json" "$results/$1-$device.json" "${2:-0.002}"
}
tests() {
    # A name that no test has is no test passed.
    "$bin/parity" "$1" --list --format terse | grep -q ': test$' || { echo "no tests of $1 are in this build"; return 1; }
    "$bin/parity" "$1" --nocapture --test-threads 1
}
alone() { CUDA_LAUNCH_BLOCKING=1 "$bin/parity" --exact "$1" --nocapture --test-threads 1; }
# Figures: the explorer's steps, jobs, and the kernels that these wait for by events beside the card's own copy and matrix product.
bench() { "$bin/prunelens" bench --device "$device" --tokens 64 "$@"; }
gemma() { shape gemma-2-2b --layer 12 "$@"; }
shape() { if [ "$device" = cpu ]; then demo "$@"; else bench --shape "$@"; fi; }
# On the processor: of what is asked for, the form alone.
demo() { case " $* " in *" --json "*) bench --json ;; *) bench ;; esac; }
# Files of Gemma-2-2B's sizes, where no model is given: opening them takes as long whatever the numbers are.
made() {
    [ -z "${MODEL:-}" ] || { echo "MODEL is set"; return 77; }
    [ "$device" != cpu ] || { echo "a large model is not for the processor"; return 77; }
    [ -n "$python" ] || { echo "no python3 to make a model with"; return 77; }
    local room
    room=$(df --output=avail -B1G "$work" | tail -1)
    [ "$room" -ge 16 ] || { echo "$room GB of disk are too few for a model of 10.5"; return 77; }
    "$python" "$root/benches/made_model.py" "$work/made.new" && mv "$work/made.new" "$work/made"
}
own() {
    if [ -z "${MODEL:-}" ] && [ -d "$work/made" ]; then
        MODEL=$work/made/gemma-2-2b SAE=$(echo "$work"/made/gemma-scope-*/*/*/*)
    fi
    if [ -z "${MODEL:-}" ] || [ -z "${SAE:-}" ]; then
        echo "MODEL and SAE are not set"
        return 77
    fi
    cat "$MODEL"/*.safetensors >/dev/null
    bench --model "$MODEL" --sae "$SAE" --compress wanda:0.5 --dtype bf16 --json
}
# The kernels' tests, watched by NVIDIA's checker. Where it does not want to work there is nothing to say of them.
watched() {
    local checker code log=$work/$1.log options=(--tool "$1" --error-exitcode 9 --print-limit 20)
    checker=$(command -v compute-sanitizer || ls -d "${CUDA_HOME:-/usr/local/cuda}"/bin/compute-sanitizer \
        /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
    [ -n "$checker" ] || { echo "no compute-sanitizer on this machine"; return 77; }
    [ "$device" != cpu ] || { echo "nothing to watch on the processor"; return 77; }
    # What libraries ask the driver in vain is no fault.
    [ "$1" != memcheck ] || options+=(--report-api-errors no)
    # Some tests are about size and speed, and would take minutes.
    "$checker" "${options[@]}" "$bin/parity" kernels:: --test-threads 1 --skip figures_of_a_card --skip at_real_sizes \
        2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    local refusal='device not supported|unable to attach|insufficient|permission|failed to (attach|initialize)'
    if ! grep -q SUMMARY "$log" || grep -qiE "$refusal" "$log"; then
        echo "$1 refuses to work here: $(grep -iE "$refusal|error" "$log" | head -1)"
        return 77
    fi
    return "$code"
}
export -f inspect core compare tests alone bench gemma shape demo made own watched machine

# Before any step, and as bounded as one: a driver that hangs would do so here.
known=$(timeout -k 3 "$(left 20)" "$bin/prunelens" doctor 2>/dev/null)
if [ -f "$bin/spare/lib/libcurand.so.10" ] && grep -q 'missing.*libcurand' <<<"$known"; then
    say "no libcurand on this machine: the spare one, which does nothing, stands in for it"
    export CUDA_HOME=${CUDA_HOME:-${CUDA_PATH:-}} CUDA_PATH=$bin/spare
fi
step machine 30 machine
step doctor 20 "$bin/prunelens" doctor
cat "$results/doctor.txt" 2>/dev/null | grep -E '^(gpu|library|missing|cuda)'
step inspect-cold 60 inspect "$device"
step inspect-warm 30 inspect "$device"
step inspect-cpu 30 inspect cpu
step inspect-same 20 compare inspect
if ! step kernels 120 tests kernels::; then
    # One bad access ends everything after it in a process: each test in its own, told where it happens.
    for test in $(timeout -k 3 "$(left 20)" "$bin/parity" kernels:: --list --format terse 2>/dev/null | sed -n 's/: test$//p'); do
        # Half of the time is for the figures, whatever is wrong.
        [ $((SECONDS - started)) -lt $((deadline / 2)) ] || { say "the other tests of kernels are left out: half of the time is over" && break; }
        step "kernels-alone-${test//::/-}" 30 alone "$test"
    done
fi
LIVE=gemma-16k step gemma-16k 120 gemma --dtype bf16 --d-sae 16384
# Opening a session of this size, and once more with what the first one kept: a goal that nothing else measures.
step made-model 60 made
step own-model 120 own
step own-model-again 120 own
step memcheck 90 watched memcheck
step racecheck 90 watched racecheck
step gemma-131k 120 gemma --dtype bf16 --d-sae 131072 --no-wanda --json
step pruning 60 tests pruning::
step reference 90 tests reference::
step ragged 60 tests ragged::
step training 60 tests training::
step train-16k 60 gemma --dtype bf16 --d-sae 16384 --train --json
step metrics 120 tests metrics::
step core-cpu 60 core cpu
step core-gpu 60 core "$device"
step core-same 20 compare core 0.01
step gpt2 60 shape gpt2-small --d-sae 24576 --no-wanda --json
step gemma-65k-32k 120 gemma --dtype bf16 --d-sae 65536,32768 --no-wanda --json
step gemma-16k-f32 120 gemma --dtype f32 --d-sae 16384 --no-wanda --json

say "$((SECONDS - started)) s; everything is in $archive"
if [ ${#failed[@]} -gt 0 ]; then
    say "failed: ${failed[*]}"
    exit 1
fi
say "all passed"
