"""`prunelens.read_atlas` on what the program measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import prunelens


def test_the_table_has_a_row_a_latent(atlas: Path) -> None:
    read = prunelens.read_atlas(atlas)
    assert len(read.table) == read.summary["d_sae"] == 2048
    assert list(read.table.columns) == read.summary["columns"]
    counts = read.table.fate.value_counts().to_dict()
    assert counts == {fate: n for fate, n in read.summary["fates"].items() if n}


def test_arrays_are_the_tables_columns(atlas: Path) -> None:
    read = prunelens.read_atlas(atlas / "atlas.parquet")
    assert set(read.arrays) == set(read.table.columns) - {"fate"}
    for name, column in read.arrays.items():
        np.testing.assert_array_equal(column, read.table[name].to_numpy(dtype=np.float64), err_msg=name)


def test_blocks_add_up_to_the_columns(atlas: Path) -> None:
    read = prunelens.read_atlas(atlas)
    assert read.blocks["positions"].sum() == read.summary["positions"]
    np.testing.assert_allclose(read.blocks["mass.original"].sum(0), read.arrays["mass.original"], rtol=1e-9)


def test_polars_has_the_same_rows(atlas: Path) -> None:
    by_polars = prunelens.read_atlas(atlas, frames="polars").table
    assert isinstance(by_polars, pl.DataFrame)
    assert by_polars["fate"].to_list() == prunelens.read_atlas(atlas).table["fate"].tolist()


def test_an_atlas_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="metrics atlas --out"):
        prunelens.read_atlas(tmp_path)
