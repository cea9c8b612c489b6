"""One process for the trials that end a publication, kept from one publication of a test process to the next.

`rnnserve.export.server_trial` starts `python -m rnnserve.server.trial` for each version: half a second of processor
time where coverage is measured, mostly for imports, and tests publish some hundreds. Here one process runs the same
program, with the same words, for one version after the other; where it ends, so does the trial, as before. A trial of
another module is a process of its own.

    python -P kept_publishing_trials.py: a line of JSON on standard input for each trial, and one on standard output
"""

import contextlib
import importlib
import io
import json
import select
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

__all__ = ["end_kept", "keep"]

_TRIAL = "rnnserve.server.trial"
_kept: "list[_Process]" = []


class _Process:
    """Runs trials for what has these surroundings: environment, `sys.path` among it, and working directory."""

    def __init__(self, surroundings: object, environment: dict[str, str]) -> None:
        self.surroundings = surroundings
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - until the end
        self._popen = subprocess.Popen(
            [sys.executable, "-P", __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def run(self, command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Run the program with the words after its module's name, as `subprocess.run` would."""
        written, answers = self._popen.stdin, self._popen.stdout
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(command[command.index(_TRIAL) + 1 :]), file=written, flush=True)
        if not select.select([answers], [], [], seconds)[0]:
            self._popen.kill()
            self.end()
            raise subprocess.TimeoutExpired(command, seconds)
        if line := answers.readline():
            return subprocess.CompletedProcess(command, **json.loads(line))
        status, errors = self.end()
        return subprocess.CompletedProcess(command, status, "", errors)

    def end(self) -> tuple[int, str]:
        """Let the process end, which saves what coverage has measured; give its exit status, and what it said."""
        if self in _kept:
            _kept.remove(self)
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.close()
        status = self._popen.wait()
        self._popen.stdout.close()
        with self._errors as file:
            file.seek(0)
            return status, file.read().decode(errors="replace")


class _Subprocess:
    """The module `subprocess`, for `server_trial`, but that it runs trials in a process that is kept."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def run(self, command: list[str], *, env: dict[str, str], timeout: float, **options: Any) -> Any:
        if _TRIAL not in command:
            return subprocess.run(command, env=env, timeout=timeout, **options)
        surroundings = Path.cwd(), {name: value for name, value in env.items() if name != "PYTEST_CURRENT_TEST"}
        if _kept and _kept[0].surroundings != surroundings:
            _kept[0].end()
        if not _kept:
            _kept.append(_Process(surroundings, env))
        return _kept[0].run(command, timeout)


def keep() -> None:
    """Let the publications of this process use the kept process."""
    module: Any = importlib.import_module("rnnserve.export.server_trial")
    module.subprocess = _Subprocess()


def end_kept() -> None:
    """End the process."""
    while _kept:
        _kept[0].end()


def _run_trials() -> None:
    from rnnserve.server import trial

    for line in sys.stdin:
        out, errors = io.StringIO(), io.StringIO()
        status: str | int | None = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                status = trial.main(json.loads(line))
            except SystemExit as end:
                status = end.code
            except Exception:  # noqa: BLE001 - as the interpreter would end
                traceback.print_exc()
                status = 1
        answer = {"returncode": status, "stdout": out.getvalue(), "stderr": errors.getvalue()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _run_trials()
