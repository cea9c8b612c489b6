"""A server with HTTP that ends answers the requests in flight."""

import http.client
import json
import threading
from collections import Counter

import pytest

from campaigns.drills.drilled import drilled, points
from kit.waiting import PATIENCE, until

MODEL = "direction_bidirectional"
PATH = f"/v2/models/{MODEL}/infer"
HEAVY = json.dumps(
    {
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [64, 500, 2], "data": points(64, 500).tolist()}],
        "outputs": [{"name": "logits"}],
    }
).encode()


class Clients:
    """Clients with one connection each, which send requests until `stop`.

    Attributes:
        said: Statuses, with "close" if the answer closes the connection and "retry" if it has a Retry-After header; or
        the connection's error.
    """

    def __init__(self, port: int, count: int) -> None:
        self.said: Counter[tuple[object, ...]] = Counter()
        self._port = port
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending, and wait for the requests in flight."""
        self._ends.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _ask(self) -> None:
        while not self._ends.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            try:
                while not self._ends.is_set():
                    connection.request("POST", PATH, HEAVY)
                    reply = connection.getresponse()
                    reply.read()
                    said = reply.status, reply.getheader("connection"), "retry" * bool(reply.getheader("retry-after"))
                    self.said[tuple(filter(None, said))] += 1
            except (OSError, http.client.HTTPException) as error:
                self.said[(type(error).__name__,)] += 1
            finally:
                connection.close()


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_every_request_is_answered_when_the_server_ends(repository, workers):
    """The gateway accepts no more connections, and closes each one after its answer, before gRPC ends."""
    with drilled(repository, *workers, http=True) as front:
        clients = Clients(front.http_port, 8)
        until(lambda: clients.said[(200,)] > 20)
        before = clients.said.copy()
        assert front.server.end() == 0
        clients.stop()
    after = clients.said - before
    assert {said[0] for said in after} == {200, "ConnectionRefusedError"}, after
    assert after[(200, "close")] == 8
