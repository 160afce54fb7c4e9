"""Which compression keeps an SAE's latents, at equal bits a weight: `python equal_bits.py PROGRAM [-- FLAGS OF THE SESSION ...]`.

For each compression of the model one run of `prunelens metrics core sparse_probing` and one of `prunelens inspect`, with the SAE untouched,
compressed alike and, with --train, trained anew on the compressed model. A Markdown table on stdout, charts with --svg. Bits a weight of the
compressed matrices, from 16: codes and f16 scales of rounded ones; what is left and a bitmask of pruned ones; both factors of those cut to a rank.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

PROMPT = " ".join([
    "The army and the navy of the republic were to be paid before winter, and the senate would not vote the money.",
    "She looked out of the window at the rain and thought of what her brother had said about the house.",
    "We hold that a people who govern themselves must first learn to govern their own passions.",
    "The old man sat down by the fire, lit his pipe, and began to tell the children of the sea.",
])
BITS, RATIO, RANK = "bits", "ratio", "rank"
CASES = [
    (4.25, "rtn:int4:g64", BITS, 4),
    (4.25, "gptq:int4:g64", BITS, 4),
    (4.20, "wanda:0.8", RATIO, 0.8),
    (4.20, "sparsegpt:0.8", RATIO, 0.8),
    (4.24, "svd-llm:0.265", RANK, 0.265),
    (8.08, "rtn:int8", BITS, 8),
    (8.04, "wanda:0.56", RATIO, 0.56),
    (8.04, "sparsegpt:0.56", RATIO, 0.56),
    (8.00, "svd-llm:0.5", RANK, 0.5),
    (3.25, "gptq:int3:g64", BITS, 3),
]
# Of the three SAEs on the compressed model, as `metrics` calls them and as the table does.
ON_COMPRESSED = [("transfer", "transfer"), ("pruned", "alike"), ("trained", "trained")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, epilog="Flags of the session stand behind --.")
    parser.add_argument("program")
    parser.add_argument("--d-in", type=int, default=192, help="width of the activations (default: the demo's)")
    parser.add_argument("--bits", type=float, nargs="*", default=[4, 8, 3], help="compressions to about so many bits")
    parser.add_argument("--train", metavar="TEXT", help="train an SAE anew on each compressed model, on this text")
    parser.add_argument("--tokens", default="98304", help="so many tokens of it")
    parser.add_argument("--train-flag", action="append", default=[], help="for `prunelens train`, such as --train-flag=--k=32")
    parser.add_argument("--probing", default="200", help="texts to train a probe on; half as many to test it")
    parser.add_argument("--keep", default="equal-bits", type=Path, help="folder of what was measured, and trained")
    parser.add_argument("--svg", type=Path, help="write charts")
    own, session = sys.argv[1:], []
    if "--" in own:
        own, session = own[: own.index("--")], own[own.index("--") + 1 :]
    return argparse.Namespace(**vars(parser.parse_args(own)), session=session)


def run(program, *args):
    command = [program, *map(str, args), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def knob(kind, at, args, d_sae):
    if kind == RATIO:
        return ["--ratio", at]
    if kind == RANK:
        # The rank at which its two factors take this share of its storage.
        at = max(1, int(at * d_sae * args.d_in / (d_sae + args.d_in)))
    return ["--knob", f"{kind}:{at}"]


def measured(case, args):
    """Figures of one compression, those of an earlier run where they are there."""
    bits, compress, kind, at = case
    name = compress.replace(":", "-")
    kept = args.keep / f"{name}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    session = [*args.session, "--compress", compress]
    d_sae = run(args.program, "inspect", "--prompt", "A word", *args.session)["sae"]["d_sae"]
    setting = knob(kind, at, args, d_sae)
    active = run(args.program, "inspect", "--prompt", PROMPT, *session, *setting)
    trained = []
    if args.train:
        folder = args.keep / f"trained-{name}"
        # An SAE is no part of a session that it is trained in.
        own = list(session)
        if "--sae" in own:
            del own[own.index("--sae") : own.index("--sae") + 2]
        run(
            args.program, "train", "--text", args.train, "--hook", active["hook"], "--d-sae", d_sae, "--tokens", args.tokens,
            *args.train_flag, "--out", folder, *own,
        )
        trained = ["--trained-sae", folder]
    figures = run(
        args.program, "metrics", "core", "sparse_probing", "--rows", 16, "--context", 96, "--data", "demo", "--train-size", args.probing,
        "--test-size", int(args.probing) // 2, *session, *setting, *trained, "--out", args.keep / f"results-{name}",
    )
    core, probing = ({row["name"]: row["values"] for row in figures[family]["rows"] if row["category"] not in ("kind", "theme")}
                     for family in ("core", "sparse_probing"))
    active = active["active"]
    row = {
        "compress": compress, "bits": bits, "alike at": setting[1] if setting[0] == "--knob" else f"ratio:{setting[1]}",
        "ce": core["ce_loss_without_sae"], "kl": core["kl_div_with_sae"], "ev": core["explained_variance"],
        "probing": probing["sae_top_1_test_accuracy"],
        "kept": 1 - active["lost_to_model"] / active["original"], "new": active["new_on_model"] / active["original"],
    }
    kept.write_text(json.dumps(row, indent=1))
    return row


def table(rows):
    there = [(variant, word) for variant, word in ON_COMPRESSED if variant in rows[0]["kl"]]
    words = [word for _, word in there]
    heads = ["compression", "bits", "model's CE", "latents kept", "new"]
    heads += [f"{figure} {word}" for figure in ("KL", "EV", "probing") for word in words] + ["alike at"]
    print(f"| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 2)}---|")
    for row in rows:
        cells = [f"`{row['compress']}`", f"{row['bits']:.2f}", f"{row['ce']['transfer']:.3f}", f"{row['kept']:.1%}", f"{row['new']:.1%}"]
        cells += [f"{row[figure][variant]:.3f}" for figure in ("kl", "ev", "probing") for variant, _ in there]
        print(f"| {' | '.join([*cells, row['alike at']])} |")
    first = rows[0]
    print(
        f"\nThe model as it is: CE {first['ce']['original']:.3f}, KL of its SAE {first['kl']['original']:.3f}, EV {first['ev']['original']:.3f}, "
        f"probing {first['probing']['original']:.3f}."
    )


COLOURS = {"kept": "#4c78a8", "transfer": "#72b7b2", "alike": "#e45756", "trained": "#54a24b"}


def chart(rows):
    """Bars of each compression: latents kept, and the divergence and the probes of each SAE."""
    there = [(variant, word) for variant, word in ON_COMPRESSED if variant in rows[0]["kl"]]
    panels = [
        ("latents kept", "", 1.0, [("kept", lambda row: row["kept"])]),
        ("KL with the SAE in place", "nats", max(max(row["kl"].values()) for row in rows),
         [(word, lambda row, variant=variant: row["kl"][variant]) for variant, word in there]),
        ("probing, top-1 accuracy", "", 1.0,
         [(word, lambda row, variant=variant: row["probing"][variant]) for variant, word in there]),
    ]
    line, left, width, gap = 13, 175, 200, 30
    tall = max(len(bars) for *_, bars in panels) * line + 10
    height, total = 40 + tall * len(rows) + 30, left + (width + gap) * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height}" viewBox="0 0 {total} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{total}" height="{height}" fill="#ffffff"/>',
    ]
    text = lambda x, y, words, more="": parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="#333333"{more}>{words}</text>')
    for at, row in enumerate(rows):
        text(left - 8, 40 + tall * at + tall / 2, f"{row['compress']} · {row['bits']:g} bits", ' text-anchor="end"')
    for n, (title, unit, most, bars) in enumerate(panels):
        x = left + n * (width + gap)
        text(x, 22, title + (f", {unit}" if unit else ""), ' font-weight="bold"')
        for at, row in enumerate(rows):
            for b, (word, value) in enumerate(bars):
                y, long = 40 + tall * at + b * line, (width - 40) * min(value(row) / most, 1)
                parts.append(f'<rect x="{x}" y="{y}" width="{long:.1f}" height="{line - 3}" fill="{COLOURS[word]}"/>')
                text(x + long + 4, y + 9, f"{value(row):.2f}")
    for n, word in enumerate(["kept", *(word for _, word in there)]):
        x = left + n * 90
        parts.append(f'<rect x="{x}" y="{height - 20}" width="10" height="10" fill="{COLOURS[word]}"/>')
        text(x + 14, height - 11, word)
    return "\n".join([*parts, "</svg>\n"])


def main():
    args = arguments()
    args.keep.mkdir(parents=True, exist_ok=True)
    cases = [case for case in CASES if int(case[0]) in [int(bits) for bits in args.bits]]
    rows = [measured(case, args) for case in cases]
    table(rows)
    if args.svg:
        args.svg.write_text(chart(rows))


main()
