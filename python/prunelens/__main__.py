"""`python -m prunelens`: the program, in this process's place."""

import os
import sys

from ._program import ProgramMissing, program


def main() -> None:
    try:
        path = program()
    except ProgramMissing as missing:
        sys.exit(f"prunelens: {missing}")
    os.execv(path, [str(path), *sys.argv[1:]])


main()
