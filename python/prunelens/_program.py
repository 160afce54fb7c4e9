"""The program: where it is, how it is called, what its failures become."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sysconfig
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

Scalar = Union[str, int, float, "os.PathLike[str]"]
Flag = Union[Scalar, bool, None, Sequence[Scalar]]
"""What a flag of the program may be given: True for one without a value, a list for one that can be given again, None or False for
one that is left out."""

_WRONG_USE = 2
_INTERRUPTED = 130
_log = logging.getLogger("prunelens")


class ProgramError(RuntimeError):
    """The program could not do it; the message is its own."""

    def __init__(self, message: str, code: int, command: Sequence[str]) -> None:
        super().__init__(message)
        self.code = code
        """Its exit code; negative for the signal that ended it."""
        self.command = list(command)


class UsageError(ProgramError, ValueError):
    """The program refused a flag or its value."""


class ProgramMissing(FileNotFoundError):
    """There is no program beside this module."""


class ProgramWarning(UserWarning):
    """What the program warned of; its answer holds."""


def program() -> Path:
    """The program that is called: what PRUNELENS_PROGRAM names, else the one installed with this module, else that of the path."""
    named = os.environ.get("PRUNELENS_PROGRAM")
    if named:
        if os.access(named, os.X_OK) and Path(named).is_file():
            return Path(named).absolute()
        raise ProgramMissing(f"PRUNELENS_PROGRAM is {named}: there is no program of this name")
    module = Path(__file__).resolve().parent
    folders = [
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")),
        # pip install --target
        str(module.parent / "bin"),
    ]
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])
    found = shutil.which("prunelens", path=path)
    if found is None:
        raise ProgramMissing(
            f"the program prunelens is in none of {', '.join(folders)}, nor on the path: install the wheel again, or set "
            "PRUNELENS_PROGRAM to the program that you have"
        )
    return Path(found)


def run(*arguments: Scalar, **flags: Flag) -> str:
    """Call `prunelens ARGUMENTS --FLAG=VALUE ...` and give its answer. Flags have underscores for their hyphens:
    `run("metrics", "core", rows=64, out="results")`.
    """
    return call(arguments, flags)


def run_json(*arguments: Scalar, **flags: Flag) -> Any:
    """The same for commands that know `--json`: `run_json("metrics", "core", rows=64)`."""
    return json.loads(call(arguments, {**flags, "json": True}))


def call(arguments: Sequence[Scalar], flags: Mapping[str, Flag], stdin: str = "") -> str:
    command = [str(program()), *map(_text, arguments), *_flags(flags)]
    done = subprocess.run(command, input=stdin.encode(), capture_output=True)
    stderr = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        raise _failure(stderr, done.returncode, command)
    for line in stderr.splitlines():
        if line.startswith("warning: "):
            warnings.warn(line.removeprefix("warning: "), ProgramWarning, stacklevel=3)
        else:
            _log.info("%s", line.removeprefix("prunelens: "))
    return done.stdout.decode()


def _text(value: Scalar) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _flags(flags: Mapping[str, Flag]) -> list[str]:
    words: list[str] = []
    for name, value in flags.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(flag)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [f"{flag}={_text(one)}" for one in value]
        else:
            words.append(f"{flag}={_text(value)}")
    return words


def _failure(stderr: str, code: int, command: Sequence[str]) -> BaseException:
    # The hint at its end is for who types commands.
    message = stderr.strip().removeprefix("prunelens: ").removesuffix("For more information, try '--help'.").rstrip()
    if code == _INTERRUPTED:
        return KeyboardInterrupt(message)
    if code < 0:
        message = message or f"the program was ended by signal {-code}"
    kind = UsageError if code == _WRONG_USE else ProgramError
    return kind(message or f"the program ended with code {code} and said nothing", code, command)
