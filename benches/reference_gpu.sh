#!/usr/bin/env bash
# The reference stack and prunelens in turn on the same GPU, shape of GPT-2 small, f32 without TF32, and how many times as
# fast the core metric is. Needs a build with CUDA, and a Python with torch, TransformerLens and SAELens.
#
#   benches/reference_gpu.sh target/release/prunelens bench_reference.py [PYTHON]
#
# Written where there was no GPU: it has not been run on one.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: reference_gpu.sh PRUNELENS BENCH_REFERENCE.py [PYTHON]" >&2; exit 2; }
prunelens=$1 reference=$2 python=${3:-python3}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$python" -c "import torch, transformer_lens, sae_lens; assert torch.cuda.is_available(), 'torch sees no GPU'"

for d_sae in 16384 24576 32768 65536 131072; do
    for turn in 1 2; do
        "$python" "$reference" --device cuda --tokens 64 --d-sae "$d_sae" --core-batches 4 --json >"$out/reference"
        "$prunelens" bench --device cuda --dtype f32 --shape gpt2-small --tokens 64 --d-sae "$d_sae" --no-wanda --json >"$out/prunelens"
        "$python" - "$d_sae" "$turn" "$out/reference" "$out/prunelens" <<'PY'
import json, sys
d_sae, turn = sys.argv[1:3]
theirs, ours = (json.loads(open(path).read().strip().splitlines()[-1] if i == 0 else open(path).read())
                for i, path in enumerate(sys.argv[3:]))
print(f"{d_sae} latents, turn {turn}")
print("  reference", {k: v for k, v in theirs.items() if isinstance(v, (int, float))})
keys = ("slider_latents_ms", "slider_figures_ms", "prompt_latents_ms", "prompt_ms", "splice_ms", "rank_s",
        "core_tokens_per_s", "job_gap_ms")
print("  prunelens", {k: ours[k] for k in keys})
rate = next((v for k, v in theirs.items() if "core" in k and isinstance(v, (int, float))), None)
if rate:
    print(f"  core metric: {ours['core_tokens_per_s'] / rate:.2f} times the reference")
PY
    done
done
