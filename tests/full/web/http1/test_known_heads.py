"""Heads that are known: read once, kept within bounds, and none that means more than the application was told."""

import pytest

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


def test_head_that_means_more_takes_the_general_way(planner):
    heads = KnownHeads(planner)
    for head in (
        HEAD.replace(b"POST", b"GET"),
        HEAD.replace(b"1.1", b"1.0"),
        HEAD.replace(b"Host: h\r\n", b""),
        HEAD.replace(b"Host: h", b"Host: h\r\n folded"),
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5"),
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 65537"),
        HEAD.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        HEAD.replace(b"Host: h", b"Host: h\r\nConnection: close"),
        HEAD.replace(b"Host: h", b"Host: h\r\nExpect: 100-continue"),
        HEAD.replace(b"Host: h", b"Host: h\r\nContent-Encoding: gzip"),
        HEAD.replace(b"Host: h", b"Host: h\r\nOrigin: http://h"),
        HEAD.replace(b"Host: h", b"Host: h\r\nUnknown: x"),
        HEAD[:-2],
        b"",
    ):
        assert heads.find(head, LOCAL) is heads.find(head, LOCAL) is None, head
    assert not planner.asked
