"""Several servers as processes, and threads of one client that ask them all the while."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kit.served import ServedProcess
from kit.waiting import PATIENCE, until
from rnnserve.client.tensors import Array
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["MODEL", "WALK", "Asking", "kill_drain_and_bring_back", "requests_at", "started_servers"]

MODEL = "direction_simple"
_PAUSE = 0.004
"""Seconds between an answer and the next request of a thread: else four of them take a core while servers start."""

WALK = np.random.default_rng(0).standard_normal((1, 9, 2)).astype(np.float32)


class Asking:
    """Threads that ask all the while.

    Attributes:
        answered: How many requests were answered, each with the bits of the first.
        failed: What the others ended with.
    """

    def __init__(self, ask: Callable[[], Mapping[str, Array]]) -> None:
        """Prepare.

        Args:
            ask: Function that asks one request; of several threads.
        """
        self.answered = 0
        self.failed: list[Exception] = []
        self._ask_one = ask
        self._expected = ask()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def goes_on(self, count: int = 300) -> None:
        """Wait for so many further answers."""
        before = self.answered
        until(lambda: self.answered >= before + count)

    def _ask(self) -> None:
        while not self._stopping.wait(_PAUSE):
            try:
                answer = self._ask_one()
                assert all(np.array_equal(answer[name], values) for name, values in self._expected.items())
                self.answered += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.failed.append(error)


@contextlib.contextmanager
def started_servers(repository: Path, **options: Any) -> Iterator[Callable[..., list[ServedProcess]]]:
    """Give a function that starts servers with options at ports, 0 for any. All end with this."""
    with contextlib.ExitStack() as stack:

        def start(*ports: int) -> list[ServedProcess]:
            started = [ServedProcess(repository, grpc_port=port, **options) for port in ports]
            for process in started:
                stack.callback(process.close)
            for process in started:
                process.wait_until_serving()
            return started

        yield start


def requests_at(server: ServedProcess) -> int:
    """How many requests a server has answered."""
    with server.channel() as channel:
        said = GRPCInferenceServiceStub(channel).ModelStatistics(pb.ModelStatisticsRequest(name=MODEL))
    return sum(model.inference_count for model in said.model_stats)


def kill_drain_and_bring_back(
    start: Callable[..., list[ServedProcess]], servers: list[ServedProcess], ask: Callable[[], Mapping[str, Array]]
) -> None:
    """Kill one of three servers, drain one, and bring one back, while clients ask. No request fails."""
    with Asking(ask) as asking:
        until(lambda: all(requests_at(server) > 20 for server in servers))
        servers[0].kill()
        asking.goes_on()
        assert servers[1].end() == 0
        asking.goes_on()
        (back,) = start(servers[0].port)
        until(lambda: requests_at(back) > 20)
        before = requests_at(back), requests_at(servers[2])
        asking.goes_on(600)
        shares = [requests_at(server) - count for server, count in zip((back, servers[2]), before, strict=True)]
    assert not asking.failed, Counter(map(repr, asking.failed))
    assert min(shares) > 200, "each has about a half"
