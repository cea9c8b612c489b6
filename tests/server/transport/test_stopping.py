"""How a server goes, in which order, without a server: over TLS clients cannot be told, and their answers are held."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnnserve.server.settings import Settings
from rnnserve.server.transport import stopping
from rnnserve.server.transport.stopping import Stopping


class Gate:
    """Pools of threads, or a transport: notes what it is told."""

    def __init__(self, name, said, *, taken=0):
        self._name = name
        self._said = said
        self.taken = taken
        self.control = self
        self.left = []

    def hold(self):
        self._said.append(f"{self._name} held")

    def release(self):
        self._said.append(f"{self._name} released")

    def stop_accepting(self):
        self._said.append("accepts no more")

    def end_streams(self, error):
        assert "go on with a new stream" in str(error)
        self._said.append("streams end")

    def end(self, _):
        return self.left


class Server:
    def __init__(self, said):
        self._said = said
        self.ends = threading.Event()
        self.ends.set()

    def stop(self, _):
        self._said.append("core stops")
        return SimpleNamespace(wait=lambda seconds: self.ends.wait(max(0, min(seconds, 0.05))))


@pytest.fixture
def said():
    return []


@pytest.fixture
def going(said, monkeypatch):
    """Makes what stops a server with some connections, all of which are told or none."""

    def new(*, can_tell=True, connections=2, told=2) -> tuple[Stopping, Any, Any]:
        monkeypatch.setattr(stopping, "count_connections", lambda _: connections)
        monkeypatch.setattr(stopping, "stop_listening", lambda *_, **__: said.append("listens no more"))
        monkeypatch.setattr(stopping, "say_goodbye", lambda _: said.append("goodbye") or told)
        server: Any = Server(said)
        transport: Any = Gate("transport", said)
        pools: Any = Gate("pools", said)
        settings = Settings(Path(), grace=0.2)
        return Stopping(server, transport, pools, settings, lambda: 1, can_tell=can_tell), server, transport

    return new


TOLD = [
    "listens no more", "pools held", "transport held", "goodbye", "transport released", "pools released",
    "streams end", "accepts no more", "streams end", "core stops",
]  # fmt: skip
HELD = [
    "listens no more", "pools held", "transport held", "accepts no more", "streams end", "core stops",
    "transport released", "pools released",
]  # fmt: skip
AT_ONCE = ["accepts no more", "streams end", "core stops"]


@pytest.mark.parametrize(
    ("can_tell", "connections", "grace", "is_started", "expected"),
    [
        (True, 2, 1.0, True, TOLD),
        (False, 2, 1.0, True, HELD),
        (True, 0, 1.0, True, AT_ONCE),
        (True, 2, 0.0, True, AT_ONCE),
        (True, 2, 1.0, False, AT_ONCE),
    ],
    ids=["told", "over TLS", "no client", "no grace", "never started"],
)
def test_what_is_done_in_which_order(going, said, can_tell, connections, grace, is_started, expected):
    leaves, *_ = going(can_tell=can_tell, connections=connections)
    assert leaves.stop(grace, is_started=is_started) == []
    assert said == expected


def test_leaving_server_waits_for_the_last_client_or_until_it_is_told_to_stop(going, said):
    leaves, *_ = going()
    told = threading.Event()
    told.set()
    leaves.leave(told)
    assert said[0] == "listens no more"
    assert said.count("goodbye") == 1
    leaves, *_ = going(connections=0)
    leaves.leave(threading.Event())
