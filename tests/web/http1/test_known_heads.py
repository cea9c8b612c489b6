"""Heads that are known: read once, kept within bounds, and none that means more than the application was told."""

import pytest

from rnnserve.web.http1 import known_heads
from rnnserve.web.http1.known_heads import KnownHeads

HEAD = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
LOCAL = ("127.0.0.1", 8000)


class Planner:
    """Plans every head by its path, and keeps what it was asked."""

    method = b"POST"

    def __init__(self):
        self.asked = []

    def plan(self, head):
        self.asked.append(head)
        return head.path


@pytest.fixture
def planner():
    return Planner()


def test_a_head_is_read_once_for_each_address(planner):
    heads = KnownHeads(planner)
    for server in (LOCAL, LOCAL, ("10.0.0.1", 8000), ("127.0.0.1", 9000), None):
        assert heads.find(HEAD, server) == (b"/a", 5)
    assert [head.server for head in planner.asked] == [LOCAL, ("10.0.0.1", 8000), None]
    assert planner.asked[0].fields == {b"host": b"h", b"content-length": b"5"}


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"POST", b"GET"),
        HEAD.replace(b"1.1", b"1.0"),
        HEAD.replace(b"1.1", b"2.0"),
        HEAD.replace(b"Host: h\r\n", b""),
        HEAD.replace(b"Host: h", b"Host: h\r\nHost: h"),
        HEAD.replace(b"Host: h", b"Host : h"),
        HEAD.replace(b"Host: h", b"Host: h\r\n folded"),
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5"),
        HEAD.replace(b"Content-Length: 5", b"Content-Length: +5"),
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 0"),
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 65537"),
        HEAD.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        HEAD.replace(b"Host: h", b"Host: h\r\nTransfer-Encoding: chunked"),
        HEAD.replace(b"Host: h", b"Host: h\r\nConnection: close"),
        HEAD.replace(b"Host: h", b"Host: h\r\nConnection: upgrade\r\nUpgrade: h2c"),
        HEAD.replace(b"Host: h", b"Host: h\r\nExpect: 100-continue"),
        HEAD.replace(b"Host: h", b"Host: h\r\nContent-Encoding: gzip"),
        HEAD.replace(b"Host: h", b"Host: h\r\nOrigin: http://h"),
        HEAD.replace(b"Host: h", b"Host: h\r\nUnknown: x"),
        HEAD.replace(b"Host: h", b"Host: h\r\nUser-Agent: " + b"x" * 1024),
        HEAD[:-2],
        HEAD.replace(b"\r\n", b"\n"),
        b"nonsense\r\n\r\n",
        b"\r\n\r\n",
        b"",
    ],
)
def test_heads_that_take_the_general_way(planner, head):
    heads = KnownHeads(planner)
    assert heads.find(head, LOCAL) is heads.find(head, LOCAL) is None
    assert not planner.asked


def test_a_connection_may_be_kept_alive_in_words(planner):
    kept = HEAD.replace(b"Host: h", b"Host: h\r\nConnection: Keep-Alive")
    assert KnownHeads(planner).find(kept, LOCAL) == (b"/a", 5)


def test_heads_are_bounded_in_number(planner, monkeypatch):
    monkeypatch.setattr(known_heads, "_MOST_HEADS", 4)
    heads = KnownHeads(planner)
    for number in range(50):
        heads.find(HEAD.replace(b"/a", b"/%d" % number), LOCAL)
        heads.find(b"nonsense %d\r\n\r\n" % number, LOCAL)
        assert 0 < len(heads._plans) <= 4


@pytest.mark.parametrize("field", [b"X-Request-Id: 1", b"Traceparent: 00-1-2-01"])
def test_heads_that_are_others_each_time_are_not_kept(planner, field):
    heads = KnownHeads(planner)
    assert heads.find(HEAD.replace(b"Host: h", b"Host: h\r\n" + field), LOCAL) == (b"/a", 5)
    assert not heads._plans
