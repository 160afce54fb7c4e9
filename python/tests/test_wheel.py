"""The wheel that tools/wheel has built: what is in it, how large it is, and that it works where nothing else is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import prunelens

WHEEL = Path(os.environ.get("PRUNELENS_WHEEL", ""))
pytestmark = pytest.mark.skipif(not WHEEL.name, reason="PRUNELENS_WHEEL names no wheel: tools/wheel builds one")

PACKAGE = Path(__file__).parent.parent / "prunelens"
LIMIT = 100_000_000
"""What PyPI takes of a file."""


@pytest.fixture(scope="module")
def wheel() -> zipfile.ZipFile:
    return zipfile.ZipFile(WHEEL)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_it_holds_the_program_the_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    data, info = ("-".join(WHEEL.name.split("-")[:2]) + ending for ending in (".data", ".dist-info"))
    module = {f"prunelens/{file.name}" for file in PACKAGE.iterdir() if file.is_file()}
    assert "prunelens/py.typed" in module
    inside = {name for name in wheel.namelist() if not name.startswith(info)}
    assert inside == module | {f"{data}/scripts/prunelens"}
    for name in module:
        assert wheel.read(name) == (PACKAGE.parent / name).read_bytes(), name
    about = {name.removeprefix(info + "/") for name in wheel.namelist() if name.startswith(info)}
    assert {"METADATA", "WHEEL", "RECORD"} <= about
    # Bills of the crates in the program, which maturin adds, may be there, too.
    assert all(name.startswith(("METADATA", "WHEEL", "RECORD", "licenses/", "sboms/")) for name in about), about


def test_it_can_be_uploaded() -> None:
    assert WHEEL.stat().st_size < LIMIT


def test_it_says_what_it_is(metadata: Message) -> None:
    cuda = WHEEL.name.startswith("prunelens_cuda-")
    assert metadata["Name"] == ("prunelens-cuda" if cuda else "prunelens")
    assert prunelens.run("-V") == f"prunelens {metadata['Version']}\n"
    assert prunelens.__version__ == metadata["Version"]
    # One file for every Python of the platform.
    assert WHEEL.name.split("-")[2:4] == ["py3", "none"]
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra" not in line]
    assert [line.split("=")[0] for line in needed] == (
        ["nvidia-cublas", "nvidia-curand", "nvidia-cuda-runtime"] if cuda else []
    )


def test_it_takes_nothing_else(tmp_path: Path) -> None:
    environment = tmp_path / "alone"
    venv.create(environment, with_pip=True)
    bin = environment / "bin"

    def ran(*command: str) -> str:
        clean = {name: value for name, value in os.environ.items() if name not in ("PRUNELENS_PROGRAM", "PYTHONPATH")}
        return subprocess.run([bin / command[0], *command[1:]], capture_output=True, text=True, check=True, env=clean).stdout

    ran("pip", "install", "--quiet", "--no-index", "--no-deps", str(WHEEL))
    assert ran("prunelens", "--version").startswith("prunelens ")
    assert "next" in ran("prunelens", "doctor")
    by_program = json.loads(ran("prunelens", "inspect", "The army", "--json"))
    script = "import json, prunelens; print(json.dumps(prunelens.inspect('The army', tensors=False).json))"
    assert json.loads(ran("python", "-c", script)) == by_program
    assert ran("python", "-c", "import prunelens; print(prunelens.program())").strip() == str(bin / "prunelens")
    # What takes numpy or a library of frames says how to get it.
    for call in ("prunelens.inspect('a')", "prunelens.inspect('a', tensors=False).figures"):
        said = ran("python", "-c", f"import prunelens\ntry: {call}\nexcept ImportError as e: print(e)")
        assert "pip install 'prunelens[data]'" in said


def test_cuda_libraries_are_found_in_its_own_environment() -> None:
    if not WHEEL.name.startswith("prunelens_cuda-"):
        pytest.skip("this wheel's program computes on the processor alone")
    clean = {name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "VIRTUAL_ENV", "CUDA_HOME")}
    doctor = subprocess.run(
        [prunelens.program(), "doctor", "--json"], capture_output=True, text=True, check=True, env=clean | {"PATH": "/usr/bin"}
    )
    gpu = json.loads(doctor.stdout)["gpu"]
    assert gpu["built_with_cuda"] is True
    found = {library["name"]: Path(library["file"]) for library in gpu["libraries"]}
    for name in ("libcublas", "libcublasLt", "libcurand"):
        assert found[name].is_relative_to(Path(sys.prefix).resolve()), (name, found)
