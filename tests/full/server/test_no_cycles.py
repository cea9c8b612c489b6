"""No request leaves a cycle, nor anything else, when it has been answered: each kind of call, by calls and on streams.

Each kind (`kit.kinds_of_calls`) is tried after requests that make what stays: prefixes, schedulers, threads.
"""

import pytest

from kit.kinds_of_calls import KINDS, Client, small_middle_and_large
from kit.left_behind import NothingLeft
from kit.served import served


@pytest.fixture(scope="module")
def channel(repository, session_key):
    more = {"session_key": session_key, "model_control": "explicit", "load_model": "*"}
    with served(repository, **more) as server, server.channel() as channel:
        yield channel


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("is_stream", [False, True], ids=["calls", "streams"])
def test_requests_leave_no_reference_cycles(channel, name, is_stream, monkeypatch):
    with Client(channel, is_stream) as client:
        small_middle_and_large(client, None)
    with NothingLeft(), monkeypatch.context() as patched, Client(channel, is_stream) as client:
        KINDS[name](client, patched)
