#!/usr/bin/env python3
"""Whether two JSON answers of prunelens say the same, one of the CPU and one of a GPU: compare.py CPU.json GPU.json [SHARE]

Figures may differ by SHARE (default 0.002) of the larger one. Sums in another order let a weight or a latent at an edge fall to
the other side now and then: counts, members of lists of latents, and matches are judged by how many differ, at most one in
fifty, and that number is printed.
"""
import json
import math
import sys

# Different by nature.
LEFT_OUT = {"device", "seconds", "files"}
# Which latent another one is matched to.
MATCHES = {"trained_match", "mutual"}
# Shares and means of counts: what is at an edge moves them by more than rounding does.
COUNTED = {"alive", "l0"}
# Figures that are nearly zero themselves may differ by SHARE of this.
SMALLEST = 0.05
EDGES = 0.02


class Comparison:
    def __init__(self, share):
        self.share = share
        self.figures = 0
        self.worst = (0.0, "none")
        self.wrong = []
        # What is judged by number: all of a kind, and those that differ.
        self.edges = {"counts": [0, 0], "latents": [0, 0], "matches": [0, 0]}

    def edge(self, kind, differ, of=1):
        self.edges[kind][0] += of
        self.edges[kind][1] += differ

    def figure(self, a, b, at):
        self.figures += 1
        off = abs(a - b) / max(abs(a), abs(b), SMALLEST)
        off = math.inf if math.isnan(off) else off
        counted = at.rsplit(".", 1)[-1] in COUNTED
        if off > (EDGES if counted else self.share):
            self.wrong.append(f"{at}: {a} and {b}")
        if off > self.worst[0]:
            self.worst = (off, at)

    def latents(self, a, b, at):
        a, b = ({entry["latent"]: entry for entry in entries} for entries in (a, b))
        self.edge("latents", len(a.keys() ^ b.keys()), len(a.keys() | b.keys()))
        for latent in a.keys() & b.keys():
            self.compare(a[latent], b[latent], f"{at}.{latent}")

    def compare(self, a, b, at=""):
        name = at.rsplit(".", 1)[-1]
        number = lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in LEFT_OUT:
            return
        if name in MATCHES:
            self.edge("matches", a != b)
        elif isinstance(a, dict) and isinstance(b, dict):
            for key in sorted(a.keys() | b.keys()):
                if key in a and key in b:
                    self.compare(a[key], b[key], f"{at}.{key}".lstrip("."))
                elif key not in LEFT_OUT | MATCHES | {"cosine"}:
                    self.wrong.append(f"{at}.{key}: only one of the two has it")
        elif isinstance(a, list) and isinstance(b, list):
            if all(isinstance(entry, dict) and "latent" in entry for entry in a + b):
                self.latents(a, b, at)
            elif len(a) != len(b):
                self.wrong.append(f"{at}: {len(a)} and {len(b)} entries")
            else:
                for index, (x, y) in enumerate(zip(a, b)):
                    self.compare(x, y, f"{at}.{index}")
        elif isinstance(a, int) and isinstance(b, int) and number(a) and number(b):
            # Of large numbers a few may differ; of small ones none by more than one.
            off = abs(a - b)
            self.edge("counts", off > 0)
            if off > max(1, EDGES * max(abs(a), abs(b))):
                self.wrong.append(f"{at}: {a} and {b}")
        elif number(a) and number(b):
            self.figure(a, b, at)
        elif a != b:
            self.wrong.append(f"{at}: {a!r} and {b!r}")

    def report(self):
        print(f"{self.figures} figures compared, the worst is off by {self.worst[0]:.2e} of it ({self.worst[1]})")
        for kind, (of, differ) in self.edges.items():
            print(f"{differ} of {of} {kind} differ")
            # One may always.
            if differ > max(1, EDGES * of):
                self.wrong.append(f"{differ} of {of} {kind} differ")
        if self.figures == 0:
            self.wrong.append("no figures to compare")
        for line in self.wrong[:20]:
            print(f"wrong: {line}")
        return 1 if self.wrong else 0


def read(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError) as why:
        sys.exit(f"{path}: no answer to compare ({why}); what was to write it has failed")


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    comparison = Comparison(float(sys.argv[3]) if len(sys.argv) == 4 else 0.002)
    comparison.compare(read(sys.argv[1]), read(sys.argv[2]))
    return comparison.report()


if __name__ == "__main__":
    sys.exit(main())
