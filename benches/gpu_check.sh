#!/usr/bin/env bash
# Checks a build with CUDA where there is a GPU, its driver and the libraries of CUDA 13: no compiler is needed there.
#
#   cargo build --release --features cuda --config tools/cuda.toml
#   cargo test --release --features cuda --config tools/cuda.toml --test kernels --no-run     # names the test's program
#   benches/gpu_check.sh target/release/prunelens target/release/deps/kernels-...
#
# Written where there was no GPU: it has not been run on one.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: gpu_check.sh PRUNELENS KERNELS-TEST" >&2; exit 2; }
prunelens=$1
kernels=$2

echo "== what the machine has"
"$prunelens" doctor

echo "== kernels against the CPU's code"
PRUNELENS_DEVICE=cuda "$kernels" --nocapture --test-threads 1

echo "== the demo on both devices: latents and figures should agree to about five digits"
for device in cpu cuda; do
  "$prunelens" inspect --device "$device" --json "The quick brown fox" >"${TMPDIR:-/tmp}/prunelens-$device.json"
done
diff "${TMPDIR:-/tmp}"/prunelens-{cpu,cuda}.json | head -20 || true

echo "== time"
for shape in gpt2-small gemma-2-2b; do
  "$prunelens" bench --device cuda --shape "$shape" --json
done
