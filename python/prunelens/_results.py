"""Result files of metrics: `prunelens metrics show`."""

from __future__ import annotations

import os
import warnings

from ._frames import DataFrame, Frames, frame
from ._program import ProgramWarning, run_json

OF_FILE = ("family", "release", "model_name", "variant", "architecture", "d_sae", "eval_id", "datetime_epoch_millis", "file")


def read_results(folder: str | os.PathLike[str], *, frames: Frames | None = None) -> DataFrame:
    """The figures of a folder of result files, this program's or SAEBench's: a row a figure and file.

    Columns: category, name and value of the figure, then what the file is of. Files that are passed over, and settings that
    keep files from being compared, are warnings.
    """
    found = run_json("metrics", "show", folder)
    for passed in found["passed_over"]:
        warnings.warn(f"passed over: {passed['file']}: {passed['why']}", ProgramWarning, stacklevel=2)
    for warning in found["warnings"]:
        warnings.warn(warning, ProgramWarning, stacklevel=2)
    columns: dict[str, list[object]] = {name: [] for name in ("category", "name", "value", *OF_FILE)}
    for file in found["files"]:
        for figure in file["figures"]:
            for name, values in columns.items():
                values.append(figure[name] if name in figure else file[name])
    return frame(columns, frames)
