"""How the workers of a generation change what they serve together: all of them, or none.

One worker at a time has the turn: it was asked for a change (RepositoryModelLoad), or told to look at the repository.
The supervisor (`Coordinator`) and the workers (`WorkerAgreement`) say these lines to one another:

===================  ======================================================================================
worker says          meaning
===================  ======================================================================================
`want`               it was asked for a change, and waits for the turn
`propose PROPOSAL`   it has loaded a change beside what serves, and waits until the others have
`prepared`           it has loaded what was proposed, and keeps it
`cannot REASON`      it could not load the same versions with the same digests
`adopted`            it serves what was proposed
`release`            it gives back the turn
===================  ======================================================================================

===================  ======================================================================================
supervisor says      meaning
===================  ======================================================================================
`turn`               make the change that you want
`look`               the same, for changes of the repository's folder
`prepare PROPOSAL`   load this beside what serves
`mend PROPOSAL`      the same, if it can be had again: all others serve it (`transport.mending`)
`adopt`              serve it: all have it
`abandon`            drop it
`done`               all serve what you have proposed
`failed REASON`      none does
===================  ======================================================================================

A proposal is the names of the models that change, the pins of all models afterwards, and what was found of versions
where they were tried, which the other workers take over: one line of JSON. A worker that is started later is given
these pins.
"""

import contextlib
import json
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent import futures
from typing import TYPE_CHECKING, NamedTuple

from rnnserve.server.errors import LoadFailed, ServeError, ShuttingDown, one_line
from rnnserve.server.repository.pins import Pins, dump_pins, read_pins
from rnnserve.server.workers.mending import Mending
from rnnserve.server.workers.worker_process import Worker
from rnnserve.server.workers.worker_statistics import CountCollector

if TYPE_CHECKING:  # it imports onnxruntime, which the supervisor does without
    from rnnserve.server.repository.live import Found, LiveRepository

__all__ = ["Change", "Coordinator", "WorkerAgreement"]

_log = logging.getLogger(__name__)

_CLOSED_SECONDS = 0.5
"""Seconds between two looks of a thread that waits whether the worker is stopping."""

_MAX_REASON = 1000


class WorkerAgreement:
    """A worker's agreement with the others, through its supervisor."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Prepare; `follow` takes what the supervisor says.

        Args:
            say: A function that writes a line to the supervisor.
        """
        self._say = say
        self._asking = threading.Lock()
        self._has_turn = False
        self._grants: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._is_closed = threading.Event()

    def follow(self, orders: "queue.SimpleQueue[str]", live: "LiveRepository") -> None:
        """Do what the supervisor says, on a thread of its own."""

        def follow_on() -> None:
            while True:
                self._take(orders.get(), live)

        threading.Thread(target=follow_on, name="orders", daemon=True).start()

    def close(self) -> None:
        """Let what waits for others fail: this worker stops."""
        self._is_closed.set()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn, and give it back after the block.

        Raises:
            LoadFailed: If no worker may change anything any more.
            ShuttingDown: If the worker is stopping.
        """
        with self._asking:
            self._say("want")
            _expect("turn", self._wait(self._grants))
            try:
                yield
            finally:
                self._release()

    def propose(self, names: Collection[str], pins: Pins, found: "Found") -> None:
        """Have the others load what this one has loaded; return when all have. Then it is to be adopted.

        Raises:
            LoadFailed: If one of them cannot load it, so that none adopts it.
            ShuttingDown: If the worker is stopping.
        """
        proposal = {"names": sorted(names), "pins": dump_pins(pins), "found": found}
        self._say(f"propose {json.dumps(proposal)}")
        _expect("adopt", self._wait(self._replies))

    def adopted(self) -> None:
        """Say that this server has adopted what it proposed; return when all have.

        Raises:
            ShuttingDown: If the worker is stopping.
        """
        self._say("adopted")
        _expect("done", self._wait(self._replies))

    def _take(self, line: str, live: "LiveRepository") -> None:
        word, _, rest = line.partition(" ")
        if word == "turn":
            self._has_turn = True
            self._grants.put(line)
        elif word == "failed" and not self._has_turn:
            self._grants.put(line)
        elif word in ("adopt", "done", "failed") and self._has_turn:
            self._replies.put(line)
        elif word == "look":
            self._has_turn = True
            self._then(live.look, lambda _: self._release())
        elif word == "prepare":
            proposal = json.loads(rest)
            pins, found = read_pins(proposal["pins"]), proposal["found"]
            self._then(lambda: live.prepare(proposal["names"], pins, found), self._say_prepared)
        elif word == "mend":
            proposal = json.loads(rest)
            wanted = read_pins(proposal["pins"])
            self._then(lambda: live.mend(proposal["names"], wanted), self._say_prepared)
        elif word == "adopt":
            self._then(live.adopt, lambda _: self._say("adopted"))
        elif word == "abandon":
            live.abandon()

    def _say_prepared(self, error: BaseException | None) -> None:
        self._say("prepared" if error is None else f"cannot {one_line(str(error), _MAX_REASON)}")

    def _then(self, ask: "Callable[[], futures.Future[None]]", say: Callable[[BaseException | None], None]) -> None:
        """Ask for a change, and say how it ended."""
        try:
            done = ask()
        except ServeError as error:
            say(error)
        else:
            done.add_done_callback(lambda ended: say(ended.exception()))

    def _release(self) -> None:
        self._has_turn = False
        self._say("release")

    def _wait(self, answers: "queue.SimpleQueue[str]") -> str:
        while not self._is_closed.is_set():
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=_CLOSED_SECONDS)
        raise ShuttingDown("the server is shutting down")


def _expect(word: str, answer: str) -> None:
    if answer != word:
        raise LoadFailed(answer.removeprefix("failed "))


class Change(NamedTuple):
    """What all workers serve from now on.

    Attributes:
        names: The models that change.
        pins: Of all models, as the worker has them that proposed the change.
        workers: Those that have loaded it.
    """

    names: Collection[str]
    pins: str
    workers: Collection[Worker]


class Coordinator:
    """Has the workers of a generation change what they serve together. For one thread, the supervisor's."""

    def __init__(self, workers: Sequence[Worker], poll: float | None, timeout: float) -> None:
        """Begin with no change under way.

        Args:
            workers: Workers of the generation.
            poll: Seconds between two looks at the repository; None where changes are asked for.
            timeout: Seconds that the others may take to load what one has proposed.
        """
        self._workers = workers
        self._counts = CountCollector(workers)
        self._mending = Mending(workers, timeout)
        self._poll = poll
        self._timeout = timeout
        self._look_at = 0.0 if poll is None else time.monotonic() + poll
        self._wanting: deque[Worker] = deque()
        self._leader: Worker | None = None
        self._leader_pid = 0
        self._proposal = ""
        self._taking_part: dict[Worker, int] = {}  # those that were told to prepare, and the process of each
        self._awaited: set[Worker] = set()
        self._is_adopting = False
        self._deadline = 0.0

    def step(self) -> Change | None:
        """Take what the workers have said, and the next step.

        Returns:
            What all serve from now on, where that has changed in this step.
        """
        for worker in self._workers:
            for line in worker.take_said():
                if not self._counts.take(worker, line) and not self._mending.take(worker, line):
                    self._take(worker, line)
        self._counts.answer()
        self._notice_deaths()
        if self._leader is None:
            if not self._mending.is_under_way:
                self._give_turn()
        elif self._proposal and not self._is_adopting:
            return self._go_on()
        elif self._is_adopting and not self._awaited:
            self._proposal, self._is_adopting = "", False
            self._taking_part.clear()
            self._leader.tell("done")
        return None

    def mend(self, pins: str) -> None:
        """Let workers that do not serve what all are to serve try again to load it."""
        self._mending.step(pins, may_begin=self._leader is None)

    def mend_soon(self) -> None:
        """Let them try soon."""
        self._mending.begin_soon()

    def _take(self, worker: Worker, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "want":
            self._wanting.append(worker)
        elif word == "propose" and worker is self._leader:
            self._proposal, self._deadline = rest, time.monotonic() + self._timeout
        elif word in ("prepared", "adopted"):
            self._awaited.discard(worker)
        elif word == "cannot" and worker in self._awaited:
            self._give_up(f"worker {worker.number}: {rest}")
        elif word == "release" and worker is self._leader:
            self._leader = None

    def _notice_deaths(self) -> None:
        for worker, pid in list(self._taking_part.items()):
            if worker.pid != pid:  # the next one in its place is told what all serve
                del self._taking_part[worker]
                self._awaited.discard(worker)
        self._wanting = deque(worker for worker in self._wanting if worker.is_ready)
        if self._leader is not None and self._leader.pid != self._leader_pid:
            if self._is_adopting and self._awaited:
                return  # the others serve it, and so will the next one in its place
            if self._proposal and not self._is_adopting:
                self._give_up("the worker that loaded it has died")
            self._leader, self._proposal, self._is_adopting = None, "", False

    def _give_turn(self) -> None:
        if self._wanting:
            self._leader, word = self._wanting.popleft(), "turn"
        elif self._poll is not None and time.monotonic() >= self._look_at:
            ready = [worker for worker in self._workers if worker.is_ready]
            if not ready:
                return
            # One that serves less than the others (`transport.mending`) would have them serve as little.
            self._leader = max(ready, key=lambda worker: worker.serves_all)
            word = "look"
            self._look_at = time.monotonic() + self._poll
        else:
            return
        self._leader_pid = self._leader.pid
        self._leader.tell(word)

    def _go_on(self) -> Change | None:
        """Have all workers that listen prepare; once they have, let all adopt, and give the change."""
        assert self._leader is not None  # noqa: S101 - it has proposed
        for worker in self._workers:
            if worker.is_ready and worker is not self._leader and worker not in self._taking_part:
                self._taking_part[worker] = worker.pid
                self._awaited.add(worker)
                worker.tell(f"prepare {self._proposal}")
        if time.monotonic() > self._deadline:
            self._give_up(f"the other workers did not load it within {self._timeout:g} s")
            return None
        if self._awaited or any(worker.is_about_to_listen for worker in self._workers):
            return None
        self._taking_part[self._leader] = self._leader.pid
        self._is_adopting = True
        self._awaited = set(self._taking_part)
        for worker in self._workers:
            if worker in self._taking_part:
                worker.tell("adopt")
            else:
                worker.kill()  # it loads what was served before, and is started again
        proposal = json.loads(self._proposal)
        return Change(proposal["names"], proposal["pins"], list(self._taking_part))

    def _give_up(self, reason: str) -> None:
        _log.error("what serves stays as it is: %s", reason)
        for worker in self._taking_part:
            worker.tell("abandon")
        if self._leader is not None:
            self._leader.tell(f"failed {reason}")
        self._proposal = ""
        self._taking_part.clear()
        self._awaited.clear()
