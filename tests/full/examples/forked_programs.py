"""Run Python programs one after the other, each in a fork of one process that has imported what takes long.

    python -W error forked_programs.py FOLDER PROGRAM…

Each program runs as `python PROGRAM` does, to the end of the interpreter, in a folder of its own: FOLDER/NAME, to which
its standard output, its standard error and its exit status are written. The imports take 5 s of processor time.
"""

import os
import runpy
import sys
import tempfile
from pathlib import Path

import rnnserve.export.pipeline  # noqa: F401 - what takes long, and starts no thread


def fork(program: Path, folder: Path) -> bool:
    """Begin to run a program, in the fork. Wait for its end, and say so, in the process that was forked."""
    folder.mkdir()
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        (folder / "status").write_text(str(os.waitstatus_to_exitcode(status)))
        return True
    os.chdir(folder)
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv, sys.path[0] = [str(program)], str(program.parent)
    return False


def main(folder: Path, programs: list[Path]) -> None:
    """Run the programs. A fork returns from here, so that it ends as an interpreter does."""
    for program in programs:
        if not fork(program, folder / program.stem):
            runpy.run_path(str(program), run_name="__main__")
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
