"""Messages between workers: all are asked, and one that ends, hangs, or is somebody else's costs nothing but time."""

import secrets
import socket
import subprocess
import sys

import pytest

from kit.waiting import until
from rnnserve.server.workers.peers import Peers

OTHER = """
import sys
from rnnserve.server.workers.peers import Peers
Peers(sys.argv[1], most=1 << 20, seconds=5.0).start(lambda message: message + b" by " + sys.argv[2].encode())
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def token():
    return secrets.token_hex(8)


@pytest.fixture
def start_other(token):
    """Starts another worker, which answers with the message and its name."""
    running = []

    def start(name):
        process = subprocess.Popen(
            [sys.executable, "-c", OTHER, token, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        running.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def mine(token):
    made = Peers(token, most=1 << 20, seconds=5.0)
    made.start(lambda message: message[::-1])
    yield made
    made.close()


def test_all_others_are_asked_and_nobody_else(mine, start_other):
    assert (mine.ask_all(b"hello"), mine.ask_one(b"hello")) == ([], b"")
    start_other("one"), start_other("two")
    assert sorted(mine.ask_all(b"hello")) == [b"hello by one", b"hello by two"]
    assert mine.ask_one(b"hello") in (b"hello by one", b"hello by two")
    stranger = Peers(secrets.token_hex(8), most=10, seconds=1.0)
    assert stranger.ask_all(b"hello") == []
    stranger.close()


def test_one_that_has_ended_is_no_peer(mine, start_other):
    process = start_other("one")
    process.kill()
    process.wait()
    until(lambda: mine.ask_all(b"hello") == [])


def test_a_peer_that_answers_nothing_is_not_waited_for_longer_than_said(token):
    asking = Peers(token, most=10, seconds=0.2)
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    silent.bind(f"\0rnnserve-{token}-1")
    silent.listen()
    assert (asking.ask_all(b"x"), asking.ask_one(b"x")) == ([], b"")
    silent.close()
    asking.close()
