"""One prompt through every variant: `prunelens inspect`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._frames import DataFrame, Frames, frame, needed
from ._program import Flag, call

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIGURES = ("l0", "mse", "explained_variance", "cossim", "ce_loss_without_sae", "ce_loss_with_sae", "kl_div_with_sae")


@dataclass(frozen=True)
class Inspection:
    """What the variants make of a prompt. Rows of arrays are tokens."""

    json: dict[str, Any] = field(repr=False)
    """All that `prunelens inspect --json` says."""
    tensors: dict[str, NDArray[Any]] = field(repr=False)
    """All that `prunelens inspect --save` writes, by its names; empty if it was not asked for."""
    frames: Frames | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"Inspection({self.prompt!r}, {len(self.tokens)} tokens, {self.hook}, variants {' '.join(self.variants)})"

    @property
    def prompt(self) -> str:
        return str(self.json["prompt"])

    @property
    def hook(self) -> str:
        return str(self.json["hook"])

    @property
    def tokens(self) -> list[str]:
        """Texts of the tokens, a BOS among them."""
        return list(self.json["tokens"]["strings"])

    @property
    def ids(self) -> list[int]:
        return list(self.json["tokens"]["ids"])

    @property
    def variants(self) -> list[str]:
        """original, transfer, pruned, and trained where there is an SAE trained anew."""
        return list(self.json["variants"])

    def latents(self, variant: str = "original") -> NDArray[np.float32]:
        """Activations of all latents, [tokens, d_sae]."""
        return self._tensor(f"variant.{variant}.latents")

    def recons(self, variant: str = "original") -> NDArray[np.float32]:
        """What the SAE makes of the activation, [tokens, d_in]."""
        return self._tensor(f"variant.{variant}.recons")

    def acts(self, model: str = "original") -> NDArray[np.float32]:
        """The model's activation at the hook, [tokens, d_in]; model is original or pruned."""
        return self._tensor(f"{model}.acts")

    def logits(self, model: str = "original") -> NDArray[np.float32]:
        """The model's logits, [tokens, vocabulary]; model is original or pruned."""
        return self._tensor(f"{model}.logits")

    def spliced_logits(self, variant: str = "original") -> NDArray[np.float32]:
        """Logits of the variant's model with the reconstruction in the activation's place."""
        return self._tensor(f"variant.{variant}.logits")

    def edited_logits(self, variant: str = "original") -> NDArray[np.float32]:
        """The same with the edits in force."""
        return self._tensor(f"variant.{variant}.edited_logits")

    def _tensor(self, name: str) -> NDArray[np.float32]:
        try:
            return self.tensors[name]
        except KeyError:
            there = ", ".join(sorted(self.tensors)) or "none, since it was called with tensors=False"
            raise KeyError(f"there is no tensor {name}; there are {there}") from None

    @cached_property
    def figures(self) -> DataFrame:
        """A row a variant: what it costs, over all tokens but the special ones."""
        variants = self.json["variants"]
        columns: dict[str, list[object]] = {"variant": list(variants)}
        columns |= {name: [variant[name] for variant in variants.values()] for name in FIGURES}
        return frame(columns, self.frames)

    @cached_property
    def top(self) -> DataFrame:
        """A row for each of the strongest latents (`top` of them) of each token and variant, with its match in the trained SAE."""
        matches = ("trained_match", "cosine", "mutual")
        columns: dict[str, list[object]] = {
            name: [] for name in ("variant", "position", "token", "latent", "activation", *matches)
        }
        for name, variant in self.json["variants"].items():
            for position, (token, latents) in enumerate(zip(self.tokens, variant["top"])):
                for latent in latents:
                    row = {"variant": name, "position": position, "token": token, **latent}
                    for column, values in columns.items():
                        values.append(row.get(column))
        return frame(columns, self.frames)

    @cached_property
    def survival(self) -> DataFrame:
        """The share of this prompt's latents that are alive at each ratio (or setting of another knob) of the SAE's pruning."""
        rows = self.json["survival"] or []
        names = list(rows[0]) if rows else ["ratio", "alive"]
        return frame({name: [row[name] for row in rows] for name in names}, self.frames)


def inspect(
    prompt: str,
    *,
    model: str | os.PathLike[str] | None = None,
    sae: str | os.PathLike[str] | None = None,
    trained_sae: str | os.PathLike[str] | None = None,
    session: str | os.PathLike[str] | None = None,
    compress: str | Sequence[str] | None = None,
    hook: str | None = None,
    ratio: float | None = None,
    criterion: str | None = None,
    edit: str | Sequence[str] | None = None,
    top: int = 10,
    tensors: bool = True,
    save: str | os.PathLike[str] | None = None,
    frames: Frames | None = None,
    **flags: Flag,
) -> Inspection:
    """Read one prompt through every variant.

    model, sae, trained_sae: paths or hub ids; without them, and without a session (a preset's name or a file), the demo.
    compress: the rule that compresses the model, such as "wanda:0.5" or "gptq:int4:g32".
    ratio, criterion: at which the SAE is pruned, and by what.
    edit: edits of latents, such as "708=ablate" or "708=set:20".
    top: latents listed for each token in `Inspection.top`.
    tensors: read activations, latents, reconstructions and logits, too; without them neither numpy nor safetensors is needed.
    save: keep these tensors in a safetensors file, which must not exist.
    frames: the library that data frames are of; pandas where it is there, else polars.
    flags: every other flag of `prunelens inspect`, with underscores: no_bos=True, device="cpu", knob="bits:4".
    """
    if tensors:
        needed("numpy")
        needed("safetensors.numpy")
    given: dict[str, Flag] = {
        "model": model,
        "sae": sae,
        "trained_sae": trained_sae,
        "session": session,
        "compress": compress,
        "hook": hook,
        "ratio": ratio,
        "criterion": criterion,
        "edit": edit,
        "top": top,
        **flags,
        "json": True,
    }
    with tempfile.TemporaryDirectory(prefix="prunelens-") as folder:
        file = Path(save) if save is not None else Path(folder) / "inspection.safetensors"
        given["save"] = file if tensors or save is not None else None
        # By stdin: a prompt may be long, begin with a hyphen, or be the name of a command.
        answer = json.loads(call(["inspect", "-"], given, stdin=prompt))
        read = needed("safetensors.numpy").load_file(file) if tensors else {}
    return Inspection(answer, read, frames)
