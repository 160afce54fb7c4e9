"""`prunelens.inspect` on the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import prunelens

VARIANTS = ["original", "transfer", "pruned", "trained"]


def test_it_is_what_the_program_prints(army: prunelens.Inspection) -> None:
    assert army.json == prunelens.run_json("inspect", "The army and the navy", ratio=0.5, top=3)
    assert army.variants == VARIANTS
    assert "".join(army.tokens[1:]) == army.prompt == "The army and the navy"
    assert army.hook == "blocks.1.hook_resid_post"
    assert army.ids == army.tensors["tokens"].tolist()


def test_arrays_have_a_row_a_token(army: prunelens.Inspection) -> None:
    tokens = len(army.tokens)
    for variant in VARIANTS:
        assert army.latents(variant).shape == (tokens, 2048)
        assert army.recons(variant).shape == (tokens, 192)
        assert army.spliced_logits(variant).shape == (tokens, 4096)
    for model in ("original", "pruned"):
        assert army.acts(model).shape == (tokens, 192)
        assert army.logits(model).shape == (tokens, 4096)


def test_figures_follow_from_the_arrays(army: prunelens.Inspection) -> None:
    figures = army.figures.set_index("variant")
    assert list(figures.index) == VARIANTS
    # Special tokens are left out: here the BOS at the beginning.
    for variant, model in (("original", "original"), ("pruned", "pruned")):
        latents = army.latents(variant)[1:]
        assert figures.loc[variant, "l0"] == (latents > 0).sum(1).mean()
        missed = army.acts(model)[1:].astype(np.float64) - army.recons(variant)[1:]
        assert figures.loc[variant, "mse"] == pytest.approx((missed**2).mean(), rel=1e-5)


def test_the_strongest_latents_are_those_of_the_array(army: prunelens.Inspection) -> None:
    top = army.top
    assert len(top) == 4 * len(army.tokens) * 3
    strongest = top[(top.variant == "pruned") & (top.position == 2)]
    row = army.latents("pruned")[2]
    assert strongest.latent.tolist() == np.argsort(-row, kind="stable")[:3].tolist()
    assert strongest.activation.to_numpy() == pytest.approx(np.sort(row)[::-1][:3], rel=1e-6)
    assert set(strongest.token) == {army.tokens[2]}
    # A latent of the trained SAE is its own match.
    assert top[top.variant == "trained"].trained_match.isna().all()


def test_survival_begins_with_all_alive(army: prunelens.Inspection) -> None:
    survival = army.survival
    assert list(survival.columns) == ["ratio", "alive"]
    assert survival.alive.iloc[0] == 1.0
    assert survival.ratio.is_monotonic_increasing


def test_either_library_has_the_same_frames() -> None:
    by_pandas = prunelens.inspect("The army", tensors=False, frames="pandas")
    by_polars = prunelens.inspect("The army", tensors=False, frames="polars")
    for name in ("figures", "top", "survival"):
        one, other = getattr(by_pandas, name), getattr(by_polars, name)
        assert isinstance(one, pd.DataFrame) and isinstance(other, pl.DataFrame)
        pd.testing.assert_frame_equal(one, pd.DataFrame(other.to_dict(as_series=False)))
    with pytest.raises(ValueError, match="frames is 'spark'"):
        prunelens.inspect("The army", tensors=False, frames="spark").figures  # type: ignore[arg-type]


def test_edits_change_what_the_models_say() -> None:
    edited = prunelens.inspect("The army", edit=["708=ablate"], top=2)
    assert edited.json["edits"] == ["708=ablate"]
    assert edited.edited_logits("pruned").shape == edited.spliced_logits("pruned").shape
    assert not np.array_equal(edited.edited_logits(), edited.logits())


def test_any_prompt_is_a_prompt() -> None:
    for prompt in ("model", "--help", "-", "日本 \"quoted\" $HOME\nnext line"):
        assert prunelens.inspect(prompt, tensors=False).prompt == prompt


def test_tensors_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "army.safetensors"
    prunelens.inspect("The army", save=file, tensors=False)
    assert file.stat().st_size > 0
    with pytest.raises(prunelens.ProgramError, match="the file exists"):
        prunelens.inspect("The army", save=file)


def test_a_tensor_that_is_not_there_is_told_with_those_that_are(army: prunelens.Inspection) -> None:
    with pytest.raises(KeyError, match="variant.origin.latents.*variant.original.latents"):
        army.latents("origin")
    with pytest.raises(KeyError, match="tensors=False"):
        prunelens.inspect("a", tensors=False).latents()
