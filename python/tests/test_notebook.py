"""The notebook of the documentation runs as it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "python.ipynb"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    # What it writes goes elsewhere.
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, cell in enumerate(code, start=1):
        assert cell["execution_count"] == number, "its outputs are those of one run from top to bottom"
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert len(code) >= 5
