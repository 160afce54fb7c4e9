"""What the tests share: the program's answers on its demo, each made once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import prunelens


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of the program's own, so that nothing of the user's is read or written."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("XDG_", "HF_", "PRUNELENS_")) and name not in ("PRUNELENS_PROGRAM", "PRUNELENS_WHEEL"):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("PRUNELENS_DEVICE", "cpu")
        yield home


@pytest.fixture(scope="session")
def army(home: Path) -> prunelens.Inspection:
    return prunelens.inspect("The army and the navy", ratio=0.5, top=3)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    folder = tmp_path_factory.mktemp("measured") / "results"
    prunelens.run("metrics", "core", rows=4, context=16, results=folder)
    return folder


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    folder = tmp_path_factory.mktemp("atlas")
    prunelens.run("metrics", "atlas", rows=8, context=32, ratios="0,0.5", out=folder)
    return folder
