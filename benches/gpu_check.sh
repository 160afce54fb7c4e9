#!/usr/bin/env bash
# Every check and every measurement of a build with CUDA, in under nine minutes, on a machine with nothing but a GPU, its
# driver and the libraries of CUDA 13. Prepare, where there is a compiler:
#
#   cargo build --release --features cuda --config tools/cuda.toml
#   cargo test --release --features cuda --config tools/cuda.toml --test parity --no-run    # builds the tests
#   benches/gpu_check.sh --pack gpu-check.tar.gz                              # both, and the tests' files
#
# There:
#
#   tar xzf gpu-check.tar.gz && gpu-check/benches/gpu_check.sh gpu-check/bin results
#
# MODEL and SAE (folders), if set, are loaded and timed too. DEVICE=cpu tries the script itself. Written where there was no
# GPU: it has not been run on one.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

if [ "${1:-}" = --pack ]; then
    target=${CARGO_TARGET_DIR:-$root/target}/release
    folder=$(mktemp -d)
    mkdir -p "$folder/gpu-check/bin" "$folder/gpu-check/benches" "$folder/gpu-check/tests"
    cp "$target/prunelens" "$folder/gpu-check/bin/" || exit 1
    # The newest: cargo keeps earlier ones beside it.
    newest=$(ls -t "$target/deps/parity"-* | grep -v '\.d$' | head -1)
    cp "$newest" "$folder/gpu-check/bin/parity" || exit 1
    strip "$folder"/gpu-check/bin/* 2>/dev/null
    cp "$root/benches/gpu_check.sh" "$folder/gpu-check/benches/"
    cp -r "$root/tests/fixtures" "$folder/gpu-check/tests/"
    tar czf "$2" -C "$folder" gpu-check && ls -l "$2"
    rm -rf "$folder"
    exit
fi
[ $# -ge 1 ] || { echo "usage: gpu_check.sh BIN [RESULTS], or --pack FILE" >&2; exit 2; }
bin=$(cd "$1" && pwd)
mkdir -p "${2:-gpu-check-results}"
results=$(cd "${2:-gpu-check-results}" && pwd)

started=$SECONDS
failed=()
# A step's name, the seconds it may take, and what it runs; its output goes to a file of that name.
step() {
    local name=$1 seconds=$2 before=$SECONDS
    shift 2
    if [ $((SECONDS - started)) -gt 500 ]; then
        echo "-- $name: left out, nine minutes are nearly over"
        failed+=("$name (left out)")
        return
    fi
    if timeout "$seconds" bash -c '"$@"' step "$@" >"$results/$name.txt" 2>&1; then
        echo "ok $name, $((SECONDS - before)) s"
    else
        echo "FAILED $name, $((SECONDS - before)) s: the end of $results/$name.txt:"
        tail -15 "$results/$name.txt"
        failed+=("$name")
    fi
}

export PRUNELENS_PARITY_FIXTURES=$root/tests/fixtures/parity PRUNELENS_METRICS_FIXTURES=$root/tests/fixtures/metrics
export RUST_BACKTRACE=0
# The driver compiles the kernels for its card once, not in every program.
export CUDA_CACHE_PATH=$results/cache CUDA_CACHE_MAXSIZE=4294967296
export device=${DEVICE:-cuda} bin results
gpu="env PRUNELENS_DEVICE=$device"

# The demo by both devices: the same tokens, latents and losses to about five digits.
inspect() { "$bin/prunelens" inspect --device "$1" --json "The quick brown fox jumps over the lazy dog." >"$results/inspect-$1.json"; }
# What differs is shown, not judged; that both run is.
both() { inspect cpu && inspect "$device" && { diff "$results/inspect-cpu.json" "$results/inspect-$device.json" | head -40; true; }; }
core() { "$bin/prunelens" metrics core --device "$1" --rows 16 --out "$results/core-$1" --json; }
# Figures: the person's steps, jobs, and each kernel by events beside the card's own copy and matrix product.
bench() { "$bin/prunelens" bench --device "$device" --tokens 64 "$@"; }
gemma() { bench --shape gemma-2-2b --layer 12 "$@"; }
export -f inspect both core bench gemma

step doctor 20 "$bin/prunelens" doctor
step kernels 120 $gpu "$bin/parity" kernels:: --nocapture --test-threads 1
step pruning 60 $gpu "$bin/parity" pruning:: --nocapture --test-threads 1
step parity 90 $gpu "$bin/parity" reference:: --nocapture --test-threads 1
step metrics 120 $gpu "$bin/parity" metrics:: --nocapture --test-threads 1
step inspect 30 both
step core-cpu 60 core cpu
step "core-$device" 60 core "$device"
step gemma-16k-bf16 90 gemma --d-sae 16384 --dtype bf16 --json
step gpt2-24k 60 bench --shape gpt2-small --d-sae 24576 --json
step gemma-65k-bf16 90 gemma --d-sae 65536 --dtype bf16 --json
step gemma-131k-bf16 120 gemma --d-sae 131072 --dtype bf16 --json
step gemma-32k-bf16 90 gemma --d-sae 32768 --dtype bf16
step gemma-16k-f32 150 gemma --d-sae 16384 --json
if [ -n "${MODEL:-}" ] && [ -n "${SAE:-}" ]; then
    cat "$MODEL"/*.safetensors >/dev/null
    step bench-model 120 bench --model "$MODEL" --sae "$SAE" --compress magnitude:0.5 --dtype bf16 --json
fi

echo
echo "$((SECONDS - started)) s; everything is in $results"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "all passed"
