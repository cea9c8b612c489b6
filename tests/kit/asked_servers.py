"""Several servers as processes, and threads of one client that ask them all the while."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kit.asking import Load
from kit.served import ServedProcess
from kit.waiting import until
from rnnserve.client.tensors import Array
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

MODEL = "direction_simple"
_PAUSE = 0.004
"""Seconds between an answer and the next request of a thread: else four of them take a core while servers start."""

WALK = np.random.default_rng(0).standard_normal((1, 9, 2)).astype(np.float32)


def asking(ask: Callable[[], Mapping[str, Array]]) -> Load:
    """Four threads that ask all the while. An answer counts as one if it has the bits of the first."""
    expected = ask()

    def call(_: object) -> str:
        try:
            answer = ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            return repr(error)
        return "OK" if all(np.array_equal(answer[name], values) for name, values in expected.items()) else "other bits"

    return Load(0, clients=4, reconnect=False, pause=_PAUSE, call=call)


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
    with asking(ask).running() as load:
        until(lambda: all(requests_at(server) > 20 for server in servers))
        servers[0].kill()
        load.goes_on()
        assert servers[1].end() == 0
        load.goes_on()
        (back,) = start(servers[0].port)
        until(lambda: requests_at(back) > 20)
        before = requests_at(back), requests_at(servers[2])
        load.goes_on(600)
        shares = [requests_at(server) - count for server, count in zip((back, servers[2]), before, strict=True)]
    assert not load.failed
    assert min(shares) > 200, "each has about a half"
