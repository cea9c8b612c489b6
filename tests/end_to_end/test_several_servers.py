"""Three servers and a client that has them all: one is killed, one drained, one comes back, and no request fails."""

import threading

import numpy as np
import pytest

from rnnserve.client import Client
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from support.served_process import ServedProcess
from support.waiting import PATIENCE, until

MODEL = "direction_simple"
WALK = np.random.default_rng(0).standard_normal((1, 9, 2)).astype(np.float32)


class Asking:
    """Threads of one client that ask all the while.

    Attributes:
        answered: How many requests were answered, each with the bits of the first.
        failed: What the others ended with.
    """

    def __init__(self, client):
        self.answered, self.failed = 0, []
        self._client, self._expected = client, client.infer(MODEL, {"input": WALK})
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised):
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def goes_on(self, count=300):
        """Wait for so many further answers."""
        before = self.answered
        until(lambda: self.answered >= before + count)

    def _ask(self):
        while not self._stopping.is_set():
            try:
                answer = self._client.infer(MODEL, {"input": WALK})
                assert all(np.array_equal(answer[name], values) for name, values in self._expected.items())
                self.answered += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.failed.append(error)


@pytest.fixture
def start(repository, tmp_path):
    """Starts a server, on a port where one is given."""
    started = []

    def run(port="0"):
        log = tmp_path / f"{len(started)}.log"
        started.append(ServedProcess(repository, log, "--grpc-port", port, "--graph", "native"))
        assert started[-1].first_line(), started[-1].log()
        return started[-1]

    yield run
    for process in started:
        process.close()


def requests_at(server):
    """How many requests a server has answered."""
    with server.channel() as channel:
        said = GRPCInferenceServiceStub(channel).ModelStatistics(pb.ModelStatisticsRequest(name=MODEL))
    return sum(model.inference_count for model in said.model_stats)


def test_one_is_killed_one_drained_and_one_comes_back(start):
    servers = [start() for _ in range(3)]
    with Client([server.address for server in servers]) as client, Asking(client) as asking:
        until(lambda: all(requests_at(server) > 20 for server in servers))
        servers[0].kill()
        asking.goes_on()
        servers[1].signal_to_stop()
        assert servers[1].wait(PATIENCE) == 0
        asking.goes_on()
        back = start(servers[0].address.rpartition(":")[2])
        until(lambda: requests_at(back) > 20)
        before = requests_at(back), requests_at(servers[2])
        asking.goes_on(600)
        shares = [requests_at(server) - count for server, count in zip((back, servers[2]), before, strict=True)]
    assert asking.failed == []
    assert min(shares) > 200, "half of the requests each"
