"""A server under a tight limit on its address space: large requests are refused, and it serves on."""

import subprocess
from collections import Counter
from typing import Any

import pytest

from support import narrowed
from support.drilled import MODEL, Bystander, Infer, drilled, points
from support.inference_requests import request

LARGE = request(MODEL, {"input": points(260, 4000)}).SerializeToString()  # 8 MB, and the answer 66 MB


@pytest.fixture
def limited(monkeypatch, transport):
    """Processes that are started have an address space of so many MB, of which a server takes 410 before any request.

    Each thread of the public transport takes 8 more.
    """
    limit = (560 if transport == "lane" else 860) << 20
    start: Any = subprocess.Popen.__init__

    def start_limited(self, command, **kwargs):
        start(self, narrowed.limited(command, RLIMIT_AS=limit), **kwargs)

    monkeypatch.setattr(subprocess.Popen, "__init__", start_limited)


@pytest.mark.usefixtures("limited")
def test_a_large_answer_does_not_end_the_server(repository, transport):
    with drilled(repository, "--transport", transport) as server:
        with Bystander(server.port) as bystander:
            clients = [Infer(server.port) for _ in range(3)]
            futures = [client.call.future(LARGE, timeout=60) for client in clients for _ in range(8)]
            said = Counter(future.code().name for future in futures)
        assert set(said) == {"RESOURCE_EXHAUSTED"}, said
        assert bystander.failures == []
        assert "the limit on the address space (ulimit -v) leaves" in server.log.read_text()
