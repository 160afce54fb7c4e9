"""Data frames of whichever library is there."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Literal

Frames = Literal["pandas", "polars"]
"""The library that data frames are of. None takes pandas, and polars where there is no pandas."""

DataFrame = Any
"""`pandas.DataFrame` or `polars.DataFrame`: type checkers need neither."""


def needed(name: str) -> Any:
    """A module that is no part of the wheel, or an error that says how to get it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(f"this takes {name}: pip install 'prunelens[data]' brings it", name=name) from missing


def library(frames: Frames | None) -> ModuleType:
    if frames is not None:
        if frames not in ("pandas", "polars"):
            raise ValueError(f"frames is {frames!r}; expected 'pandas', 'polars' or None")
        return needed(frames)  # type: ignore[no-any-return]
    for name in ("pandas", "polars"):
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    raise ModuleNotFoundError("data frames take pandas or polars: pip install 'prunelens[data]' brings pandas", name="pandas")


def frame(columns: Mapping[str, Sequence[object]], frames: Frames | None) -> DataFrame:
    return library(frames).DataFrame(dict(columns))


def read_parquet(path: os.PathLike[str], frames: Frames | None) -> DataFrame:
    return library(frames).read_parquet(path)
