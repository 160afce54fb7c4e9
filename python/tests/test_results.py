"""`prunelens.read_results` on what the program measured."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import prunelens


def test_every_figure_of_every_file_is_a_row(results: Path) -> None:
    figures = prunelens.read_results(results)
    files = sorted((results / "core").glob("*_eval_results.json"))
    assert sorted(figures.file.unique()) == [str(file) for file in files]
    assert sorted(figures.variant.unique()) == ["original", "pruned", "trained", "transfer"]
    assert set(figures.family) == {"core"}
    for file in files:
        written = json.loads(file.read_text())["eval_result_metrics"]
        rows = figures[figures.file == str(file)]
        for row in rows.itertuples():
            # The program reads them to the last but one bit.
            assert row.value == pytest.approx(written[row.category][row.name], rel=1e-15)
        assert len(rows) == sum(isinstance(v, (int, float)) for kind in written.values() for v in kind.values())


def test_polars_has_the_same_rows(results: Path) -> None:
    by_polars = prunelens.read_results(results, frames="polars")
    assert isinstance(by_polars, pl.DataFrame)
    assert by_polars["value"].to_list() == prunelens.read_results(results)["value"].tolist()


def test_files_that_are_passed_over_are_warnings(results: Path, tmp_path: Path) -> None:
    whole = sorted((results / "core").iterdir())[0]
    (tmp_path / whole.name).write_bytes(whole.read_bytes())
    (tmp_path / "half_eval_results.json").write_text("{")
    with pytest.warns(prunelens.ProgramWarning, match="passed over: .*half_eval_results.json"):
        assert set(prunelens.read_results(tmp_path).file) == {str(tmp_path / whole.name)}


def test_a_folder_that_is_not_there_is_an_error() -> None:
    with pytest.raises(prunelens.ProgramError, match="/no/such: No such file"):
        prunelens.read_results("/no/such")
