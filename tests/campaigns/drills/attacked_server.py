"""A server in a process of its own that attacks may ruin: its log is read in pieces, and it is started again."""

import contextlib
from pathlib import Path

from campaigns.drills.wire.attack import Attack
from campaigns.drills.wire.bystander import Bystander
from campaigns.drills.wire.drill import Result, drill
from campaigns.drills.wire.resident_memory import resident_bytes, settles_below
from campaigns.drills.wire.target import Target
from kit.served import ServedProcess, served

__all__ = ["AttackedServer"]


class AttackedServer:
    """A server, an attacker and a bystander, in a `with`: started when they are needed, and again after a defect."""

    def __init__(self, repository: Path, model: str, *options: str) -> None:
        """Start nothing yet.

        Args:
            repository: The folder of models.
            model: The one that attackers and bystander ask.
            options: Of `rnnserve serve`.
        """
        self._repository, self._options = repository, options
        self._model = model
        self._running: contextlib.ExitStack | None = None
        self._server: ServedProcess | None = None
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
        at = len(self._server.log)
        (result,) = drill(self._target, [attack], self._bystander, seconds, self._server.process.pid)
        said = self._server.log[at:]
        if result.gone or result.seen.failures or self._server.has_ended:
            self.stop()
        return result, said

    @property
    def resident(self) -> int:
        """Resident memory of what runs, in bytes; 0 where nothing does."""
        return 0 if self._running is None else resident_bytes(self._server.process.pid)

    def settles_below(self, most: int, seconds: float = 10.0) -> bool:
        """Whether resident memory falls below so many bytes within some seconds."""
        return settles_below(lambda: self.resident, most, seconds)

    def stop(self) -> None:
        """Kill the server, if one runs."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _start(self) -> None:
        with contextlib.ExitStack() as stack:
            self._server = stack.enter_context(
                served(self._repository, "process", log_level="warning", options=self._options)
            )
            stack.callback(setattr, self._server, "is_over", True)  # what an attack has left may not end well
            self._target = Target(self._server.address, self._model)
            stack.callback(self._target.close)
            self._bystander = stack.enter_context(Bystander(self._server.address, self._target.valid))
            self._running = stack.pop_all()
