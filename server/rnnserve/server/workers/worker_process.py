"""One worker process as its supervisor sees it: started, watched, ended, and started again after a wait.

The two ends speak through two pipes (`messages`; `supervisor_link` is the worker's end). On the first, the worker
writes; on the second, its lifeline, the supervisor. That this one is closed means that the supervisor has ended.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rnnserve.common.kept_identity import used_kept_identity
from rnnserve.server.counting.table import CountTable
from rnnserve.server.counting.totals import Totals
from rnnserve.server.repository.pins import Pins, dump_pins
from rnnserve.server.workers import messages
from rnnserve.server.workers.message_lines import MessageReader, encode

__all__ = ["Backoff", "Worker"]


@dataclasses.dataclass
class Backoff:
    """How long to wait before a worker is started again: longer each time it dies young.

    Attributes:
        first: Seconds after the first death.
        longest: Seconds at most.
        grown_up: A worker that was ready for as many seconds starts the count anew: what ended it was not its start.
    """

    first: float = 0.05
    longest: float = 5.0
    grown_up: float = 1.0
    _last: float = dataclasses.field(default=0.0, init=False)

    def seconds_after(self, lived: float) -> float:
        """Say how many seconds to wait after a worker that was ready for `lived` seconds."""
        died_young = lived < self.grown_up
        self._last = min(2 * self._last, self.longest) if died_young and self._last else self.first
        return self._last


@dataclasses.dataclass
class _Process:
    """A running process and our ends of its pipes.

    Attributes:
        popen: The process.
        report_fd: It writes messages to the other end.
        lifeline_fd: It ends when this end is closed.
        is_pinned: Whether it was told what to serve.
        reader: Makes messages of what it writes.
        may_listen: Whether it has been told that it may listen.
        has_hung_up: Whether its end of the pipe is closed.
        unsent: What has been told, and not written, since the process has not read what was told before.
        said: Messages that are for others.
        pins: What it serves, once it has loaded.
        serves_all: Whether that is what all are to serve.
        table: What it counts.
        ready_at: When it said that it listens, in seconds on the monotonic clock.
        beat_at: When its last beat came, on the same clock.
    """

    popen: subprocess.Popen[bytes]
    report_fd: int
    lifeline_fd: int
    is_pinned: bool
    table: CountTable
    reader: MessageReader[messages.WorkerMessage]
    may_listen: bool = False
    has_hung_up: bool = False
    unsent: bytes = b""
    said: list[messages.WorkerMessage] = dataclasses.field(default_factory=list)
    pins: Pins | None = None
    serves_all: bool = True
    ready_at: float | None = None
    beat_at: float = dataclasses.field(default_factory=time.monotonic)


class Worker:
    """A worker's place, and the process that fills it.

    Attributes:
        number: Its number, from 0, for messages.
    """

    def __init__(
        self, number: int, command: Callable[[Sequence[str]], Sequence[str]], totals: Totals | None = None
    ) -> None:
        """Prepare; `start` starts the process.

        Args:
            number: Number of the worker, from 0.
            command: A function that makes the process's command line, which includes the arguments given.
            totals: Sum of what its processes count; None where no one asks.
        """
        self._totals = totals or Totals()
        self.number = number
        self._command = command
        self._backoff = Backoff()
        self._start_at = 0.0
        self._process: _Process | None = None

    @property
    def is_loading(self) -> bool:
        """Whether it has a process that has not loaded its models yet."""
        return self._process is not None and self._process.pins is None

    @property
    def is_loaded(self) -> bool:
        """Whether its process has loaded, and waits until it may listen."""
        return self._process is not None and self._process.pins is not None and not self._process.may_listen

    @property
    def is_pinned(self) -> bool:
        """Whether its process was told what to serve."""
        return self._process is not None and self._process.is_pinned

    @property
    def pins(self) -> Pins | None:
        """What its process serves; None until it has loaded."""
        return None if self._process is None else self._process.pins

    @property
    def serves_all(self) -> bool:
        """Whether its process serves what all are to serve, as far as it has been told."""
        return self._process is not None and self._process.serves_all

    @property
    def is_ready(self) -> bool:
        """Whether its process has said that it listens."""
        return self._process is not None and self._process.ready_at is not None

    @property
    def is_about_to_listen(self) -> bool:
        """Whether its process may listen, and has not said that it does."""
        return self._process is not None and self._process.may_listen and self._process.ready_at is None

    @property
    def pid(self) -> int:
        """The number of its process; 0 where it has none."""
        return 0 if self._process is None else self._process.popen.pid

    @property
    def is_due(self) -> bool:
        """Whether it has no process and the wait after the last one is over."""
        return self._process is None and time.monotonic() >= self._start_at

    @property
    def report_fd(self) -> int | None:
        """Readable when the process has something to say, or has ended; None where nothing more can come."""
        return None if self._process is None or self._process.has_hung_up else self._process.report_fd

    @property
    def has_process(self) -> bool:
        """Whether it has a process that has not been cleaned up."""
        return self._process is not None

    def start(self, pins: Pins | None = None) -> None:
        """Start the process.

        Args:
            pins: The versions that it shall serve; None for what the repository holds.

        Raises:
            OSError: If no process can be started: as many run as may, or as many files are open.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as its:
            report_fd, report_write = _pipe(ours, its)
            lifeline_read, lifeline_fd = _pipe(its, ours)
            os.set_blocking(report_fd, False)
            os.set_blocking(lifeline_fd, False)
            table = CountTable()
            ours.callback(table.close)
            places: list[str] = []
            passed = {
                "--report-fd": report_write,
                "--lifeline-fd": lifeline_read,
                "--counts-fd": table.descriptor,
                "--tls-fd": used_kept_identity().descriptor,
            }
            if pins is not None:
                passed["--pins-fd"] = its.enter_context(_readable("pins", dump_pins(pins)))
            popen = subprocess.Popen(  # noqa: S603 - our own command line
                self._command([*[word for name, fd in passed.items() for word in (name, str(fd))], *places]),
                pass_fds=tuple(passed.values()),
                start_new_session=True,  # a Ctrl-C is for the supervisor, which passes it on once
            )
            ours.pop_all()
        reader = MessageReader(messages.WorkerMessage, f"worker {self.number}")
        self._process = _Process(
            popen,
            report_fd,
            lifeline_fd,
            is_pinned=pins is not None,
            table=table,
            reader=reader,
        )
        self._totals.add(table)

    def look(self) -> int | None:
        """Read what the process has said; return its exit status where it has died."""
        process = self._process
        if process is None:
            return None
        status = process.popen.poll()  # first, so that all that it has said is read, too
        with contextlib.suppress(BlockingIOError):
            while not process.has_hung_up:
                said = os.read(process.report_fd, 1 << 16)
                process.has_hung_up = not said
                for message in process.reader.read(said):
                    self._take(process, message)
        self._write(process)
        return status

    def serves(self, pins: Pins, *, all_of_it: bool = True) -> None:
        """Note what the process serves from now on.

        Args:
            pins: The versions.
            all_of_it: Whether that is what all are to serve.
        """
        if self._process is not None:
            self._process.pins, self._process.serves_all = pins, all_of_it

    def postpone(self) -> float:
        """Note that no process can be started now; return after how many seconds that is tried again."""
        wait = self._backoff.seconds_after(0.0)
        self._start_at = time.monotonic() + wait
        return wait

    def go(self) -> None:
        """Let the process listen, after it has loaded."""
        if self._process is not None:
            self._process.may_listen = True
            self.tell(messages.Listen())

    def tell(self, message: messages.SupervisorMessage) -> None:
        """Write a message to the process, at once as far as it has read what was written before."""
        if self._process is not None:
            self._process.unsent += encode(message)
            self._write(self._process)

    def take_said(self) -> list[messages.WorkerMessage]:
        """Take the messages of the process that are for others."""
        if self._process is None:
            return []
        said, self._process.said = self._process.said, []
        return said

    def silence(self) -> float:
        """Seconds for which a process that listens has given no beat; 0 where there is none."""
        process = self._process
        return 0.0 if process is None or process.ready_at is None else time.monotonic() - process.beat_at

    def excuse(self) -> None:
        """Begin to count its silence anew: it was not listened to, either."""
        if self._process is not None:
            self._process.beat_at = time.monotonic()

    def is_stopped(self) -> bool:
        """Whether the process has been stopped, by SIGSTOP for example, and not continued."""
        if self._process is None:
            return False
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{self._process.popen.pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] == "T"
        return False

    def clean_up(self) -> float:
        """Release what the dead process held; return after how many seconds another is started."""
        process = self._process
        if process is None:
            return 0.0
        os.close(process.report_fd)
        os.close(process.lifeline_fd)
        self._totals.keep(process.table)
        wait = self._backoff.seconds_after(0.0 if process.ready_at is None else time.monotonic() - process.ready_at)
        self._process = None
        self._start_at = time.monotonic() + wait
        return wait

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, where one runs."""
        if self._process is not None and self._process.popen.poll() is None:
            self._process.popen.send_signal(number)

    def kill(self) -> None:
        """End the process at once, where one runs, and release what it held."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.popen.wait()
        self.clean_up()

    def _take(self, process: _Process, message: messages.WorkerMessage) -> None:
        process.beat_at = time.monotonic()
        match message:
            case messages.Loaded(pins):
                process.pins = pins
            case messages.Ready():
                process.ready_at = process.beat_at
            case messages.Beat():
                pass
            case _:
                process.said.append(message)

    def _write(self, process: _Process) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # later; or it has died, which `look` will tell
            while process.unsent:
                process.unsent = process.unsent[os.write(process.lifeline_fd, process.unsent) :]


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """Make a pipe, whose ends are closed with these."""
    read_fd, write_fd = os.pipe()
    reader.callback(os.close, read_fd)
    writer.callback(os.close, write_fd)
    return read_fd, write_fd


@contextlib.contextmanager
def _readable(name: str, text: str) -> Iterator[int]:
    """A descriptor of a file in memory with a text in it, however long. A pipe holds 64 kB until it is read."""
    with os.fdopen(os.memfd_create(name), "wb") as file:
        file.write(text.encode())
        file.flush()
        file.seek(0)
        yield file.fileno()
