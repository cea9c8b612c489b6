"""Run the tests of a mutant on a copy of the tree."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from mutation.mutants import Mutant
from mutation.selection import TestsByLine

__all__ = ["TreeCopy"]

AREAS = ("cli", "client", "cluster", "common", "export", "load", "models", "protos", "server", "web")
_COPIED = (*AREAS, "benchmarks", "docs", "tests")
_TIMED_OUT = -1
_VERDICTS = {0: "survived", 1: "killed", _TIMED_OUT: "timed out"}  # by pytest's exit status
# -B: Python tells byte code of one size and second apart by neither.
_PYTEST = (sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mutation.tracing")


class TreeCopy:
    """A copy of the tree whose packages are imported instead of the installed ones."""

    def __init__(self, root: Path, copy: Path, checkpoints: Path) -> None:
        self.root = copy
        self._checkpoints = checkpoints
        for name in _COPIED:
            if (root / name).exists():
                shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        for file in root.iterdir():
            if file.is_file() and not file.name.startswith(".coverage"):
                shutil.copy2(file, copy)

    def run(
        self, arguments: list[str], log: Path, timeout: float, prefix: tuple[str, ...] = _PYTEST, **extra: str
    ) -> int:
        """Run pytest in the copy; gives its exit status, or `_TIMED_OUT`. Nothing that it started is left."""
        environment = os.environ | extra
        environment["PYTHONPATH"] = os.pathsep.join(str(self.root / name) for name in (*AREAS, "tests"))
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        command = [*prefix, f"--checkpoints={self._checkpoints}", f"--basetemp={self.root}.tmp", *arguments]
        with (
            log.open("wb") as output,
            subprocess.Popen(  # the words are ours
                command, cwd=self.root, env=environment, stdout=output, stderr=output, start_new_session=True
            ) as process,
        ):
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                return _TIMED_OUT
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def trace(self, folders: list[str], work: Path, timeout: float) -> TestsByLine:
        """Run all tests of these folders and record which lines each runs.

        Raises:
            RuntimeError: If the tests cannot be run, or not within the time.
        """
        config = work / "trace.ini"
        config.write_text(
            f"[run]\nparallel = true\ncore = ctrace\ncontext = ${{MUTATION_CONTEXT-}}\ndata_file = {work}/coverage\n"
            f"source =\n  {self.root}/server\n  {self.root}/export\ndisable_warnings = no-data-collected\n"
        )
        tests, log = work / "tests.json", work / "trace.log"
        coverage = (sys.executable, "-m", "coverage")
        status = self.run(
            folders,
            log,
            timeout,
            (*coverage, "run", f"--rcfile={config}", *_PYTEST[2:]),
            COVERAGE_PROCESS_START=str(config),
            MUTATION_TESTS=str(tests),
        )
        if status not in _VERDICTS or status == _TIMED_OUT:
            raise RuntimeError(
                f"the tests without a mutant: {_VERDICTS.get(status, status)}\n{log.read_text()[-4000:]}"
            )
        subprocess.run([*coverage, "combine", "-q", f"--rcfile={config}"], check=True, cwd=self.root)
        return TestsByLine(work / "coverage", tests, self.root)

    def judge(self, mutant: Mutant, tests: list[str], log: Path, timeout: float) -> str:
        """Run these tests with the mutant: "survived" if all pass, "killed" if one fails, else "timed out".

        Raises:
            RuntimeError: If the tests cannot be run at all.
        """
        path = self.root / mutant.file
        original = path.read_text()
        names = log.with_suffix(".tests")
        names.write_text("\n".join(tests))
        try:
            path.write_text(mutant.mutate(original))
            status = self.run(["-x", f"@{names}"], log, timeout)
        finally:
            path.write_text(original)
        if status in _VERDICTS:
            return _VERDICTS[status]
        # Not even collected, since a module cannot be imported; without the mutant it must be otherwise.
        if self.run(["--collect-only", f"@{names}"], log.with_suffix(".collect.log"), 600) != 0:
            raise RuntimeError(f"tests of {mutant.file}:{mutant.line} cannot be collected: {log.read_text()}")
        return "killed"
