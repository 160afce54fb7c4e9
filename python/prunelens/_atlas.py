"""Atlases of latents: what `prunelens metrics atlas` writes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._frames import DataFrame, Frames, needed, read_parquet

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Atlas:
    """Every latent of an SAE over a corpus; the columns are those of docs/atlas.md."""

    summary: dict[str, Any] = field(repr=False)
    """What it is of: rows, positions, hook, ratio, criterion, how many latents have which fate."""
    table: DataFrame = field(repr=False)
    """A row a latent, a column a figure; what does not exist is missing."""
    path: Path
    """Its table, atlas.parquet."""

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns that are numbers, as float64."""
        return self._tensors(".safetensors")

    @cached_property
    def blocks(self) -> dict[str, NDArray[Any]]:
        """Sums over blocks of rows, [blocks, latents], for a bootstrap; empty where there are too few rows."""
        return self._tensors(".blocks.safetensors")

    def _tensors(self, ending: str) -> dict[str, NDArray[Any]]:
        file = self.path.with_name(self.path.name.removesuffix(".parquet") + ending)
        read: dict[str, NDArray[Any]] = needed("safetensors.numpy").load_file(file) if file.exists() else {}
        return read


def read_atlas(path: str | os.PathLike[str], *, frames: Frames | None = None) -> Atlas:
    """Read an atlas: the folder that `prunelens metrics atlas --out` wrote, or one table in it (`atlas.1.parquet`)."""
    table = Path(path)
    if table.is_dir():
        table = table / "atlas.parquet"
    if table.suffix != ".parquet" or not table.is_file():
        raise FileNotFoundError(f"{table}: there is no such atlas; prunelens metrics atlas --out FOLDER writes one")
    summary = table.with_suffix(".json")
    return Atlas(json.loads(summary.read_text(encoding="utf-8")), read_parquet(table, frames), table)
