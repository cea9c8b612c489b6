"""How the workers of a generation change what they serve together: all of them, or none.

One worker at a time has the turn: it was asked for a change (RepositoryModelLoad), or told to look at the repository.
The supervisor's side is `Coordinator`, a worker's `WorkerAgreement`:

=========================  =====================================================================================
the worker with the turn   the supervisor, and the other workers
=========================  =====================================================================================
`Want`                     `Turn`; or `Look`, without being asked
`Propose`                  `Prepare` to the others, which answer `Prepared` or `Cannot`; after that `Adopt` to
                           all, or `Failed` to the one and `Abandon` to the others
`Adopted`                  `Adopted` of the others; `Done`
`Release`                  the next `Turn`
=========================  =====================================================================================
"""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent import futures
from typing import TYPE_CHECKING, NamedTuple

from rnnserve.server.error_texts import one_line
from rnnserve.server.errors import LoadFailed, ServeError, ShuttingDown
from rnnserve.server.repository.pins import Found, Pins
from rnnserve.server.workers import messages
from rnnserve.server.workers.mending import Mending
from rnnserve.server.workers.worker_process import Worker
from rnnserve.server.workers.worker_statistics import CountCollector

if TYPE_CHECKING:  # it imports onnxruntime, which the supervisor does without
    from rnnserve.server.repository.live import LiveRepository

__all__ = ["Change", "Coordinator", "WorkerAgreement"]

_log = logging.getLogger(__name__)

_CLOSED_SECONDS = 0.5
"""Seconds between two looks of a thread that waits whether the worker is stopping."""

_MAX_REASON = 1000


class WorkerAgreement:
    """A worker's agreement with the others, through its supervisor."""

    def __init__(self, say: Callable[[messages.WorkerMessage], None]) -> None:
        """Prepare; `follow` says what is to be changed.

        Args:
            say: A function that writes a message to the supervisor.
        """
        self._say = say
        self._live: LiveRepository | None = None
        self._asking = threading.Lock()
        self._has_turn = False
        self._grants: queue.SimpleQueue[messages.SupervisorMessage] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[messages.SupervisorMessage] = queue.SimpleQueue()
        self._is_closed = threading.Event()

    def follow(self, live: "LiveRepository") -> None:
        """Change a repository from now on, as the supervisor says. Before this worker says that it is ready."""
        self._live = live

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
            self._say(messages.Want())
            _expect(messages.Turn, self._wait(self._grants))
            try:
                yield
            finally:
                self._release()

    def propose(self, names: Collection[str], pins: Pins, found: Found) -> None:
        """Have the others load what this one has loaded; return when all have. Then it is to be adopted.

        Raises:
            LoadFailed: If one of them cannot load it, so that none adopts it.
            ShuttingDown: If the worker is stopping.
        """
        self._say(messages.Propose(messages.Proposal(tuple(sorted(names)), pins, found)))
        _expect(messages.Adopt, self._wait(self._replies))

    def adopted(self) -> None:
        """Say that this server has adopted what it proposed; return when all have.

        Raises:
            ShuttingDown: If the worker is stopping.
        """
        self._say(messages.Adopted())
        _expect(messages.Done, self._wait(self._replies))

    def take(self, message: messages.SupervisorMessage) -> None:
        """Do what the supervisor says of changes. It waits for none of them."""
        assert self._live is not None  # noqa: S101 - the supervisor speaks of changes once this worker is ready
        live = self._live
        match message:
            case messages.Turn():
                self._has_turn = True
                self._grants.put(message)
            case messages.Failed() if not self._has_turn:
                self._grants.put(message)
            case messages.Adopt() | messages.Done() | messages.Failed() if self._has_turn:
                self._replies.put(message)
            case messages.Look():
                self._has_turn = True
                self._then(live.look, lambda _: self._release())
            case messages.Prepare(messages.Proposal(names, pins, found)):
                self._then(lambda: live.prepare(names, pins, found), self._say_prepared)
            case messages.Mend(messages.Proposal(names, pins)):
                self._then(lambda: live.mend(names, pins), self._say_prepared)
            case messages.Adopt():
                self._then(live.adopt, lambda _: self._say(messages.Adopted()))
            case messages.Abandon():
                live.abandon()

    def _say_prepared(self, error: BaseException | None) -> None:
        self._say(messages.Prepared() if error is None else messages.Cannot(one_line(str(error), _MAX_REASON)))

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
        self._say(messages.Release())

    def _wait(self, answers: "queue.SimpleQueue[messages.SupervisorMessage]") -> messages.SupervisorMessage:
        while not self._is_closed.is_set():
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=_CLOSED_SECONDS)
        raise ShuttingDown("the server is shutting down")


def _expect(kind: type[messages.SupervisorMessage], answer: messages.SupervisorMessage) -> None:
    if not isinstance(answer, kind):
        raise LoadFailed(answer.reason if isinstance(answer, messages.Failed) else f"the supervisor says {answer}")


class Change(NamedTuple):
    """What all workers serve from now on.

    Attributes:
        names: The models that change.
        pins: Of all models, as the worker has them that proposed the change.
        workers: Those that have loaded it.
    """

    names: Collection[str]
    pins: Pins
    workers: Collection[Worker]


class Coordinator:
    """Has the workers of a generation change what they serve together. For one thread, the supervisor's."""

    def __init__(
        self,
        workers: Sequence[Worker],
        poll: float | None,
        timeout: float,
        of_ended: Callable[[], bytes] = bytes,
    ) -> None:
        """Begin with no change under way.

        Args:
            workers: Workers of the generation.
            poll: Seconds between two looks at the repository; None where changes are asked for.
            timeout: Seconds that the others may take to load what one has proposed.
            of_ended: A function that gives what workers have counted that have ended, a ModelStatisticsResponse.
        """
        self._workers = workers
        self._counts = CountCollector(workers, of_ended)
        self._mending = Mending(workers, timeout)
        self._poll = poll
        self._timeout = timeout
        self._look_at = 0.0 if poll is None else time.monotonic() + poll
        self._wanting: deque[Worker] = deque()
        self._leader: Worker | None = None
        self._leader_pid = 0
        self._proposal: messages.Proposal | None = None
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
            for message in worker.take_said():
                self._take(worker, message)
        self._counts.answer()
        self._notice_deaths()
        if self._leader is None:
            if not self._mending.is_under_way:
                self._give_turn()
        elif self._proposal is not None and not self._is_adopting:
            return self._go_on(self._leader, self._proposal)
        elif self._is_adopting and not self._awaited:
            self._proposal, self._is_adopting = None, False
            self._taking_part.clear()
            self._leader.tell(messages.Done())
        return None

    def mend(self, pins: Pins) -> None:
        """Let workers that do not serve what all are to serve try again to load it."""
        self._mending.step(pins, may_begin=self._leader is None)

    def mend_soon(self) -> None:
        """Let them try soon."""
        self._mending.begin_soon()

    def _take(self, worker: Worker, message: messages.WorkerMessage) -> None:
        match message:
            case messages.Sum(number):
                self._counts.ask(worker, number)
            case messages.Counted(number, counts):
                self._counts.add(worker, number, counts)
            case messages.Prepared() | messages.Cannot() | messages.Adopted() if self._mending.is_of(worker):
                self._mending.take(worker, message)
            case messages.Want():
                self._wanting.append(worker)
            case messages.Propose(proposal) if worker is self._leader:
                self._proposal, self._deadline = proposal, time.monotonic() + self._timeout
            case messages.Prepared() | messages.Adopted():
                self._awaited.discard(worker)
            case messages.Cannot(reason) if worker in self._awaited:
                self._give_up(f"worker {worker.number}: {reason}")
            case messages.Release() if worker is self._leader:
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
            self._leader, self._proposal, self._is_adopting = None, None, False

    def _give_turn(self) -> None:
        word: messages.SupervisorMessage
        if self._wanting:
            self._leader, word = self._wanting.popleft(), messages.Turn()
        elif self._poll is not None and time.monotonic() >= self._look_at:
            ready = [worker for worker in self._workers if worker.is_ready]
            if not ready:
                return
            # One that serves less than the others (`mending`) would have them serve as little.
            self._leader, word = max(ready, key=lambda worker: worker.serves_all), messages.Look()
            self._look_at = time.monotonic() + self._poll
        else:
            return
        self._leader_pid = self._leader.pid
        self._leader.tell(word)

    def _go_on(self, leader: Worker, proposal: messages.Proposal) -> Change | None:
        """Have all workers that listen prepare; once they have, let all adopt, and give the change."""
        for worker in self._workers:
            if worker.is_ready and worker is not leader and worker not in self._taking_part:
                self._taking_part[worker] = worker.pid
                self._awaited.add(worker)
                worker.tell(messages.Prepare(proposal))
        if time.monotonic() > self._deadline:
            self._give_up(f"the other workers did not load it within {self._timeout:g} s")
            return None
        if self._awaited or any(worker.is_about_to_listen for worker in self._workers):
            return None
        self._taking_part[leader] = leader.pid
        self._is_adopting = True
        self._awaited = set(self._taking_part)
        for worker in self._workers:
            if worker in self._taking_part:
                worker.tell(messages.Adopt())
            else:
                worker.kill()  # it loads what was served before, and is started again
        return Change(proposal.names, proposal.pins, list(self._taking_part))

    def _give_up(self, reason: str) -> None:
        _log.error("what serves stays as it is: %s", reason)
        for worker in self._taking_part:
            worker.tell(messages.Abandon())
        if self._leader is not None:
            self._leader.tell(messages.Failed(reason))
        self._proposal = None
        self._taking_part.clear()
        self._awaited.clear()
