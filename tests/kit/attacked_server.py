"""A server in a process of its own that attacks may ruin: its log is read piece by piece, and it is started again."""

import contextlib
import re
import signal
import subprocess
import time
from pathlib import Path

from campaigns.drills.wire.attack import Attack
from campaigns.drills.wire.bystander import Bystander
from campaigns.drills.wire.drill import Result, drill
from campaigns.drills.wire.resident_memory import resident_bytes
from campaigns.drills.wire.target import Target
from kit.serving import RNNSERVE

__all__ = ["AttackedServer"]

_GRACE = 30.0
"""Seconds that a server may take to stop before it is killed."""


class AttackedServer:
    """A server, an attacker and a bystander, in a `with`: started when they are needed, and again after a defect."""

    def __init__(self, repository: Path, model: str, log: Path, *options: str) -> None:
        """Start nothing yet.

        Args:
            repository: The folder of models.
            model: The one that attackers and bystander ask.
            log: File for the log.
            options: Of `rnnserve serve`.
        """
        self._command = [
            str(RNNSERVE),
            "serve",
            str(repository),
            "--grpc-port",
            "0",
            "--log-level",
            "warning",
            "--no-http",
            *options,
        ]
        self._model = model
        self._log = log
        self._running: contextlib.ExitStack | None = None
        self._process: subprocess.Popen[str] | None = None
        self._target: Target | None = None
        self._bystander: Bystander | None = None

    def __enter__(self) -> "AttackedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def attack(self, attack: Attack, seconds: float) -> tuple[Result, str]:
        """Run an attack; give what it did, and what the server logged meanwhile."""
        if self._running is None:
            self._start()
        at = self._log.stat().st_size
        (result,) = drill(self._target, [attack], self._bystander, seconds, self._process.pid)
        with self._log.open(errors="replace") as log:
            log.seek(at)
            said = log.read()
        if result.gone or result.seen.failures or self._process.poll() is not None:
            self.stop()
        return result, said

    @property
    def resident(self) -> int:
        """Resident memory of what runs, in bytes; 0 where nothing does."""
        return 0 if self._running is None else resident_bytes(self._process.pid)

    def settles_below(self, most: int, seconds: float = 10.0) -> bool:
        """Whether resident memory falls below so many bytes within some seconds."""
        deadline = time.monotonic() + seconds
        while self.resident >= most:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def stop(self) -> None:
        """Stop what runs; a server that does not end by itself is killed."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _start(self) -> None:
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self._log.open("a"))
            self._process = stack.enter_context(
                subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
            )
            stack.callback(self._end, self._process)
            printed = re.fullmatch(r"gRPC on (\S+)\n", self._process.stdout.readline())
            assert printed
            self._target = Target(printed[1], self._model)
            stack.callback(self._target.close)
            self._bystander = stack.enter_context(Bystander(printed[1], self._target.valid))
            self._running = stack.pop_all()

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
