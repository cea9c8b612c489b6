"""Start a server: the two ways in which tests do it.

A server in the test's own process, on a free port and the CPU, with any `Settings`::

    with served(repository, max_queue=4) as server:
        server.stub.ModelInfer(request("direction_simple", {"input": walk}))

`rnnserve serve` as a process, with the same names as options (`max_queue=4` is `--max-queue 4`)::

    with served_process(repository, workers=2) as server:
        server.send(signal.SIGHUP)
        until(lambda: "is ready again" in server.log)

Both end with the block, in which a process has to end with status 0.
"""

import contextlib
import functools
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from kit.logged import Log, logged
from kit.running_processes import children_of
from kit.waiting import PATIENCE
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.repository.repository import LOADING

_LOADING_SECONDS = 5.0
"""How long to wait for all models. Tests in which models don't load go on after that."""

RNNSERVE = (sys.executable, "-m", "rnnserve.cli")
"""The words that run `rnnserve`."""


def new_channel(port: int, options: Mapping[str, Any] | None = None) -> grpc.Channel:
    """Open a connection that no other channel shares, so any worker may get it."""
    return grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1), *(options or {}).items()])


class Served:
    """A running server.

    Attributes:
        port: Its port for gRPC.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._channels = contextlib.ExitStack()

    @property
    def address(self) -> str:
        """Host and port for gRPC."""
        return f"127.0.0.1:{self.port}"

    def channel(self, **options: Any) -> grpc.Channel:
        """Open a connection of its own with channel options, such as `max_receive_message_length=-1`."""
        return new_channel(self.port, {f"grpc.{name}": value for name, value in options.items()})

    @functools.cached_property
    def stub(self) -> rpc.GRPCInferenceServiceStub:
        """A client on one connection, which closes with the server. It takes messages of any size."""
        options = {"max_receive_message_length": -1, "max_send_message_length": -1}
        return rpc.GRPCInferenceServiceStub(self._channels.enter_context(self.channel(**options)))

    def close(self) -> None:
        """Close its own connection."""
        self._channels.close()


class ServedHere(Served):
    """A server in this process.

    Attributes:
        server: The server.
    """

    def __init__(self, server: Server, log: Log) -> None:
        super().__init__(server.port)
        self.server, self._log = server, log

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return "\n".join(self._log.messages)


class ServedProcess(Served):
    """`rnnserve serve` in a process of its own, started at once; `wait_until_serving` gives it its port.

    Attributes:
        process: The process: the server, or the supervisor of workers.
        is_over: Whether a test has ended it; otherwise it has to run until the block ends.
    """

    def __init__(
        self,
        repository: Path,
        *options: str,
        patch: str = "",
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        """Start the process.

        Args:
            repository: The folder with the models.
            options: Words for the command.
            patch: Python code that each of its processes runs at its start.
            environment: Variables besides those of this process.
            settings: Options by name: True for an option without a value, a list for one that is repeated.
        """
        super().__init__()
        self.is_over = False
        self._last_log = ""
        self._folder = tempfile.TemporaryDirectory(prefix="served-")
        folder = Path(self._folder.name)
        self._log_file = folder / "log"
        words = [*_words({"grpc_port": 0, "provider": "cpu", **settings}), *options]
        if not any(word.startswith("--http-port") for word in words):
            words.append("--no-http")
        every = {**os.environ, **(environment or {})}
        if patch:
            (folder / "sitecustomize.py").write_text(patch)
            every["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [every.get("PYTHONPATH")])])
        with self._log_file.open("w") as log:
            self.process = subprocess.Popen(
                [*RNNSERVE, "serve", str(repository), *words], stdout=subprocess.PIPE, stderr=log, text=True, env=every
            )

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log_file.read_text() if self._log_file.exists() else self._last_log

    def workers(self) -> list[int]:
        """Its workers that run."""
        return self.children(b"\0--report-fd")

    def children(self, words: bytes = b"") -> list[int]:
        """The processes that it started, runs, and whose command lines have these words."""
        return children_of(self.process.pid, words)

    def next_line(self, pattern: str) -> str:
        """Wait for the next line that it prints; return the group of the pattern, which has to match."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(pattern + r"\n", line)
        assert found, (line, self.log)
        return found[1]

    def wait_until_serving(self) -> None:
        """Wait until it serves."""
        self.port = int(self.next_line(r"gRPC on 127\.0\.0\.1:(\d+)"))

    @functools.cached_property
    def http_address(self) -> str:
        """Host and port for HTTP, of a server with the option http_port."""
        return self.next_line(r"HTTP on (127\.0\.0\.1:\d+)")

    @functools.cached_property
    def metrics_address(self) -> str:
        """Host and port for metrics alone, of a server with the option metrics_port. Ask for `http_address` first."""
        return self.next_line(r"Metrics on (127\.0\.0\.1:\d+)")

    @property
    def has_ended(self) -> bool:
        """Whether its first process has ended."""
        return self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill its first process, and wait for its end."""
        self.is_over = True
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end with a signal; return its exit status."""
        self.is_over = True
        self.send(number)
        return self.process.wait(PATIENCE)

    def end_well(self) -> None:
        """Ask it to end, unless a test has ended it: with status 0."""
        if not self.is_over:
            status = self.end()
            assert status == 0, (status, self.log)

    def close(self) -> None:
        """Kill what is left, and remove its files. Its log can still be read."""
        super().close()
        self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._last_log = self.log
        self._folder.cleanup()


@contextlib.contextmanager
def served(repository: Path, **settings: Any) -> Iterator[ServedHere]:
    """Serve a repository in this process, on the CPU and a free port, until the block ends.

    Args:
        repository: The folder with the models.
        settings: `Settings` by name.
    """
    with (
        logged("rnnserve", level=logging.WARNING) as log,
        Server(Settings(repository, **{"grpc_port": 0, "provider": "cpu", **settings})) as server,
        contextlib.closing(ServedHere(server, log)) as running,
    ):
        _wait_for_all_models(server)
        yield running


def _wait_for_all_models(server: Server) -> None:
    """A server is ready as soon as one model is. On a busy machine, the others would still be loading."""
    deadline = time.monotonic() + _LOADING_SECONDS
    while time.monotonic() < deadline and any(
        status.state == LOADING for _, versions in server._repository.statuses() for status in versions.values()
    ):
        time.sleep(0.005)


def _words(settings: Mapping[str, Any]) -> Iterator[str]:
    """Write settings as options of the command."""
    for name, value in settings.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            yield option
        elif value is not None and value is not False:
            for each in value if isinstance(value, list | tuple) else [value]:
                yield from (option, str(each))


@contextlib.contextmanager
def served_process(repository: Path, *, options: Sequence[str] = (), **more: Any) -> Iterator[ServedProcess]:
    """Serve a repository by `rnnserve serve`, on the CPU and a free port, until the block ends.

    Args:
        repository: The folder with the models.
        options: Further words.
        more: Options by the names of `Settings`; `patch` and `environment` of a `ServedProcess`.
    """
    with contextlib.closing(ServedProcess(repository, *options, **more)) as server:
        server.wait_until_serving()
        yield server
        server.end_well()
