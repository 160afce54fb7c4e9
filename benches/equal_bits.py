"""Which compression keeps an SAE's latents, at equal bits a weight: `python equal_bits.py PROGRAM [FLAGS OF THE SESSION ...]`.

For each compression of the model one run of `prunelens metrics core` and one of `prunelens inspect`, with the SAE compressed alike; a Markdown table on stdout. Bits a weight of the compressed matrices, from 16: codes and f16 scales of rounded ones; what is left
and a bitmask of pruned ones; both factors of those cut to a rank.
"""

import json
import subprocess
import sys
import tempfile

PROGRAM, FLAGS = sys.argv[1], sys.argv[2:]
ROWS = ["--rows", "16", "--context", "96"]
PROMPT = " ".join([
    "The army and the navy of the republic were to be paid before winter, and the senate would not vote the money.",
    "She looked out of the window at the rain and thought of what her brother had said about the house.",
    "We hold that a people who govern themselves must first learn to govern their own passions.",
    "The old man sat down by the fire, lit his pipe, and began to tell the children of the sea.",
])


def run(*args):
    command = [PROGRAM, *args, *FLAGS, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def measured(compress, knob):
    with tempfile.TemporaryDirectory() as out:
        rows = run("metrics", "core", *ROWS, "--compress", compress, *knob, "--out", out)["core"]["rows"]
    core = {row["name"]: row["values"] for row in rows}
    return core, run("inspect", "--prompt", PROMPT, "--compress", compress, *knob)["active"]


# Width and size of the SAE, for the rank at which its factors take a share of its storage.
D_IN, D_SAE = (int(n) for n in (FLAGS[FLAGS.index("--") + 1 :] if "--" in FLAGS else [192, 2048]))
FLAGS = FLAGS[: FLAGS.index("--")] if "--" in FLAGS else FLAGS


def rank(share):
    return ["--knob", f"rank:{max(1, int(share * D_SAE * D_IN / (D_SAE + D_IN)))}"]


def ratio(share):
    return ["--ratio", str(share)]


CASES = [
    (4.25, "rtn:int4:g64", ["--knob", "bits:4"]),
    (4.25, "gptq:int4:g64", ["--knob", "bits:4"]),
    (4.20, "wanda:0.8", ratio(0.8)),
    (4.20, "sparsegpt:0.8", ratio(0.8)),
    (4.24, "svd-llm:0.265", rank(0.265)),
    (8.08, "rtn:int8", ["--knob", "bits:8"]),
    (8.04, "wanda:0.56", ratio(0.56)),
    (8.04, "sparsegpt:0.56", ratio(0.56)),
    (8.00, "svd-llm:0.5", rank(0.5)),
    (3.25, "gptq:int3:g64", ["--knob", "bits:3"]),
]

print(
    "| compression | bits | model's CE | latents kept | new | KL transfer | KL alike | EV transfer | EV alike | alike at |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"
)
for bits, compress, knob in CASES:
    core, active = measured(compress, knob)
    ce, kl, ev = core["ce_loss_without_sae"], core["kl_div_with_sae"], core["explained_variance"]
    kept = 1 - active["lost_to_model"] / active["original"]
    new = active["new_on_model"] / active["original"]
    cells = [
        f"`{compress}`", f"{bits:.2f}", f"{ce['transfer']:.3f}", f"{kept:.1%}", f"{new:.1%}",
        f"{kl['transfer']:.3f}", f"{kl['pruned']:.3f}", f"{ev['transfer']:.3f}", f"{ev['pruned']:.3f}",
        knob[1] if knob[0] == "--knob" else f"ratio:{knob[1]}",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)
print(f"\nThe model as it is: CE {ce['original']:.3f}, KL of its SAE {kl['original']:.3f}, EV {ev['original']:.3f}.")
