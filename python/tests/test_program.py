"""Finding the program, calling it, and what its failures become."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import prunelens
from prunelens._program import _flags


def test_flags_are_written_as_the_program_reads_them() -> None:
    flags = {
        "ratio": 0.5,
        "no_bos": True,
        "offline": False,
        "hook": None,
        "edit": ["708=ablate", "12=set:20"],
        "save": Path("x.safetensors"),
    }
    want = ["--ratio=0.5", "--no-bos", "--edit=708=ablate", "--edit=12=set:20", "--save=x.safetensors"]
    assert _flags(flags) == want


def test_the_program_answers_as_on_the_command_line() -> None:
    assert prunelens.run("-V").startswith("prunelens ")
    doctor = prunelens.run_json("doctor")
    assert doctor["version"] == prunelens.run("-V").split()[1]
    module = subprocess.run([sys.executable, "-m", "prunelens", "-V"], capture_output=True, text=True, check=True)
    assert module.stdout == prunelens.run("-V")


def test_wrong_use_names_the_flag_and_what_was_expected() -> None:
    with pytest.raises(prunelens.UsageError, match="--ratio.*from 0 to 0.99") as refused:
        prunelens.inspect("a", ratio=7)
    assert refused.value.code == 2
    assert isinstance(refused.value, ValueError)
    assert "--help" not in str(refused.value)
    with pytest.raises(prunelens.UsageError, match="--no-such-flag"):
        prunelens.inspect("a", no_such_flag=1)


def test_failed_work_is_an_error_with_the_programs_words() -> None:
    with pytest.raises(prunelens.ProgramError, match="^--model /no/such: no such file or folder") as failed:
        prunelens.inspect("a", model="/no/such", offline=True)
    assert failed.value.code == 1
    assert not isinstance(failed.value, prunelens.UsageError)
    assert failed.value.command[1] == "inspect"


def test_warnings_are_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "prunelens"
    stand_in.write_text("#!/bin/sh\necho 'warning: the demo is small' >&2\necho '{\"a\": 1}'\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PRUNELENS_PROGRAM", str(stand_in))
    with pytest.warns(prunelens.ProgramWarning, match="^the demo is small$"):
        assert prunelens.run_json("inspect") == {"a": 1}


def test_an_interrupted_program_interrupts_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "prunelens"
    stand_in.write_text("#!/bin/sh\nexit 130\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PRUNELENS_PROGRAM", str(stand_in))
    with pytest.raises(KeyboardInterrupt):
        prunelens.run("inspect")


def test_a_program_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNELENS_PROGRAM", "/no/such/prunelens")
    with pytest.raises(prunelens.ProgramMissing, match="PRUNELENS_PROGRAM is /no/such/prunelens"):
        prunelens.program()


def test_types_hold() -> None:
    package = Path(prunelens.__file__).parent
    assert (package / "py.typed").is_file()
    # By its name: mypy takes what lies beside a package that is given by its path for the person's own.
    environment = os.environ if "site-packages" in package.parts else {**os.environ, "MYPYPATH": str(package.parent)}
    command = [sys.executable, "-m", "mypy", "--strict", "-p", "prunelens"]
    checked = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr
