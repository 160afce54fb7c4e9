"""What decides whether a latent outlives pruning: rank correlations and kinds of latents, from atlases as files.

    python atlas_findings.py NAME=FOLDER... > findings.md          needs numpy, scipy, pandas, pyarrow

Intervals are the middle 95 % of 300 resamples of latents (percentile bootstrap, seed 0). Several folders are of the same rows and
SAE, pruned by other criteria; `random` among them is the null.
"""
import json
import sys

import numpy as np
import pandas as pd
from scipy import stats

FIRINGS, RESAMPLES = 10, 300
PREDICTORS = {
    "density": "density.original", "strength": "mean.original", "encoder norm": "enc_norm", "decoder norm": "dec_norm",
    "importance (size)": "importance", "token entropy": "token_entropy.original",
}


def load(folder):
    frame, about = pd.read_parquet(f"{folder}/atlas.parquet"), json.load(open(f"{folder}/atlas.json"))
    frame["signed"], frame["importance"] = frame["importance"], frame["importance"].abs()
    counts = (frame["density.original"] * about["positions"] >= FIRINGS - 0.5) & (frame["mass.transfer"] > 0)
    return frame[counts & frame["importance"].notna()].reset_index(drop=True), about


def interval(n, of, rng):
    found = np.array([of(rng.integers(n, size=n)) for _ in range(RESAMPLES)])
    return np.nanpercentile(found, [2.5, 97.5], axis=0)


def told(value, low, high):
    noise = "" if low > 0 or high < 0 else " within noise"
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]{noise}"


def correlations(frame, outcome):
    """Spearman's coefficient of each predictor with an outcome, and a regression of ranks with coefficients in deviations."""
    names = [name for name, column in PREDICTORS.items() if frame[column].nunique() > 1 and frame[column].std() > 1e-4 * abs(frame[column].mean())]
    columns = np.stack([frame[PREDICTORS[name]] for name in names])

    def figures(at):
        ranks = np.stack([stats.rankdata(row) for row in np.vstack([columns[:, at], outcome[at]])])
        r = np.corrcoef(ranks)
        return np.concatenate([r[-1, :-1], np.linalg.solve(r[:-1, :-1], r[:-1, -1])])

    values = figures(np.arange(len(frame)))
    low, high = interval(len(frame), figures, np.random.default_rng(0))
    k = len(names)
    explained = float(values[:k] @ values[k:])
    rows = [f"| {name} | {told(values[i], low[i], high[i])} | {told(values[k + i], low[k + i], high[k + i])} |" for i, name in enumerate(names)]
    head = f"| | Spearman | coefficient of the regression of ranks (R² {explained:.2f}) |\n|---|---|---|"
    return "\n".join([head, *rows])


def kinds(frame):
    q = {name: frame[PREDICTORS[name]].quantile([0.5, 0.75]).to_list() for name in ("density", "importance (size)", "token entropy")}
    density, importance, entropy = (frame[PREDICTORS[name]] for name in q)
    dense, unimportant = density >= q["density"][0], importance < q["importance (size)"][0]
    return np.select(
        [dense & unimportant, ~dense & (entropy < q["token entropy"][0]), entropy >= q["token entropy"][1]],
        ["dense and unimportant", "rare and specific", "polysemantic"], "other")


def who(frame, dead):
    kind, n = kinds(frame), len(frame)
    if dead.sum() < 20:
        return f"Only {int(dead.sum())} of {n}: too few to say of which kind."
    rows = []
    for name in ["dense and unimportant", "rare and specific", "polysemantic", "other"]:
        of = (kind == name).astype(float)
        figure = lambda at: of[at][dead[at]].mean() - of[at].mean()
        low, high = interval(n, lambda at: figure(at) if dead[at].any() else np.nan, np.random.default_rng(0))
        rows.append(f"| {name} | {of.mean():.1%} | {of[dead].mean():.1%} | {told(figure(np.arange(n)), low, high)} |")
    return "\n".join([f"{int(dead.sum())} of {n} latents.\n", "| kind | of all | of these | difference |\n|---|---|---|---|", *rows])


def main():
    atlases = {name: load(folder) for name, folder in (arg.split("=", 1) for arg in sys.argv[1:])}
    assert len({about["tokens_sha256"] for _, about in atlases.values()}) == 1, "these atlases are of different rows"
    for title, (frame, about) in atlases.items():
        outcome = frame["dies_half"].fillna(1.0).to_numpy()
        print(f"### {title}: {len(frame)} of {about['d_sae']} latents fire {FIRINGS} times or more on {about['positions']} positions\n")
        print(f"Ratio at which half of the mass is gone (1: no ratio): mean {outcome.mean():.3f}.\n\n{correlations(frame, outcome)}\n")
        ratio = next((r for r in about["ratios"] if (outcome <= r).mean() >= 0.25), about["ratios"][-1])
        print(f"At ratio {ratio} half or more of the mass is gone from {who(frame, outcome <= ratio)}\n")
        kind = kinds(frame)
        names = sorted(set(kind))
        print("| ratio | loss to first order, nats | " + " | ".join(names) + " |\n|---|---|" + "---|" * len(names))
        for r in about["ratios"]:
            change = frame["signed"] * (1 - frame[f"mass.pruned.{r:g}"] / frame["mass.original"])
            print(f"| {r} | {change.sum():+.4f} | " + " | ".join(f"{change[kind == name].sum():+.4f}" for name in names) + " |")
        print()
    name, (frame, about) = next(iter(atlases.items()))
    kept = (frame["mass.transfer"] / frame["mass.original"]).to_numpy()
    print(f"### The model's pruning alone: mass in transfer over mass in original, mean {kept.mean():.3f}\n\n{correlations(frame, kept)}\n")
    print(f"Half or more of the mass is gone from {who(frame, kept < 0.5)}\n")
    if "random" in atlases:
        print("### Criteria against random\n\n| criterion | mean ratio of half | difference from random |\n|---|---|---|")
        null = atlases["random"][0]["dies_half"].fillna(1.0).to_numpy()
        for name, (frame, _) in atlases.items():
            difference = frame["dies_half"].fillna(1.0).to_numpy() - null
            low, high = interval(len(null), lambda at: difference[at].mean(), np.random.default_rng(0))
            print(f"| {name} | {frame['dies_half'].fillna(1.0).mean():.3f} | {told(difference.mean(), low, high)} |")


main()
