#!/usr/bin/env bash
# SAELens' trainer and `prunelens train` in turn, three times each, on the same pruned model and text; then four SAEs that share a
# reading; then the quality of all of them on text that none was trained on.
#
#   benches/train.sh PRUNELENS MODEL_DIR HELD_OUT TEXT...
#
# MODEL_DIR: a model as transformers reads it, pruned already (`prunelens prune model --compress wanda:0.5 --out DIR`). HELD_OUT and TEXT:
# plain text files. Settings by variables: LAYER (9), D_SAE (4096), K (32), TOKENS (51200), TIMES (3), PYTHON (python3, with torch,
# transformers and sae-lens), OUT (a new folder). Every line of stdout is a JSON object.
set -euo pipefail
program=$(realpath "$1") model=$(realpath "$2") held_out=$(realpath "$3"); shift 3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
layer=${LAYER:-9} d_sae=${D_SAE:-4096} k=${K:-32} tokens=${TOKENS:-51200} times=${TIMES:-3} python=${PYTHON:-python3}
out=${OUT:-$(mktemp -d)}; mkdir -p "$out"

load() { cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo null; }

ours() { # name, more flags
  local name=$1; shift
  local texts=() text
  for text in "${files[@]}"; do texts+=(--text "$text"); done
  # BOS is not put before rows: rows hold 256 tokens of text either way.
  TIMEFORMAT='%U %S %R'
  { time "$program" train --model "$model" --compress none "${texts[@]}" --hook "blocks.$layer.hook_resid_post" \
    --d-sae "$d_sae" --k "$k" --tokens "$tokens" --buffer 16384 --no-bos --out "$out/$name" --json "$@" > "$out/$name.json"; } 2> "$out/$name.time"
  "$python" - "$out/$name.json" "$name" "$(load)" <<'P'
import json, sys
report = json.load(open(sys.argv[1]))
saes = report.get("saes", [report])
rate = sum(sae["training"]["tokens_per_second"] for sae in saes)
print(json.dumps({"run": sys.argv[2], "tokens_per_second": round(rate), "load": float(sys.argv[3])}), flush=True)
P
}

theirs() { # name
  echo "{\"run\": \"$1\", \"load\": $(load), \"saelens\": $("$python" "$here/train_reference.py" train --model "$model" --text "${files[@]}" \
    --layer "$layer" --d-sae "$d_sae" --k "$k" --tokens "$tokens" --out "$out/$1" 2> "$out/$1.log" | tail -1)}"
}

files=("$@")
for at in $(seq "$times"); do
  theirs "saelens-$at"
  ours "prunelens-$at"
done
for at in $(seq "$times"); do
  ours "prunelens-four-$at" --vary seed=0,1,2,3
done
"$python" "$here/train_reference.py" judge "$out/saelens-1" "$out/prunelens-1" --model "$model" --text "$held_out" --layer "$layer" 2> "$out/judge.log"
