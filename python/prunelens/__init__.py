"""What happens to a sparse autoencoder's latents when the language model under it is compressed.

The program `prunelens` does the work; this module calls it and gives its answers as numpy arrays and data frames::

    import prunelens

    army = prunelens.inspect("The army and the navy", compress="wanda:0.5", ratio=0.5)
    army.figures                 # a row a variant: L0, MSE, explained variance, CE, KL
    army.latents("pruned")       # activations, tokens x latents
    prunelens.read_results("results")
    prunelens.read_atlas("atlas").table

Without a model and an SAE the demo is read that is compiled into the program.
"""

from importlib.metadata import PackageNotFoundError, version

from ._atlas import Atlas, read_atlas
from ._frames import DataFrame, Frames
from ._inspection import Inspection, inspect
from ._program import Flag, ProgramError, ProgramMissing, ProgramWarning, UsageError, program, run, run_json
from ._results import read_results

__all__ = [
    "Atlas",
    "DataFrame",
    "Flag",
    "Frames",
    "Inspection",
    "ProgramError",
    "ProgramMissing",
    "ProgramWarning",
    "UsageError",
    "inspect",
    "program",
    "read_atlas",
    "read_results",
    "run",
    "run_json",
]


def _version() -> str:
    # One module in two wheels: for the processor, and with CUDA.
    for name in ("prunelens", "prunelens-cuda"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    # Read from a checkout.
    return "unknown"


__version__ = _version()
