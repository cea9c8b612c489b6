"""Messages between workers: all are asked, and one that ends, hangs, or is somebody else's costs nothing but time."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading

import pytest

from kit.waiting import until
from rnnserve.server.errors import StartError
from rnnserve.server.workers import peers
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


def test_large_messages_and_none_that_are_too_large(mine, start_other):
    start_other("one")
    large = secrets.token_bytes((1 << 20) - 7)
    assert mine.ask_one(large) == large + b" by one"
    assert mine.ask_one(large + b"1") == b""  # the answer has one byte too many
    assert mine.ask_one(large + bytes(100)) == b""  # and so has the message
    assert mine.ask_one(b"still") == b"still by one"


def test_a_peer_that_answers_nothing_is_not_waited_for_longer_than_said(token):
    asking = Peers(token, most=10, seconds=0.2)
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    silent.bind(f"\0rnnserve-{token}-1")
    silent.listen()
    assert (asking.ask_all(b"x"), asking.ask_one(b"x")) == ([], b"")
    silent.close()
    asking.close()


def test_a_process_of_another_user_is_neither_asked_nor_answered(mine, start_other, monkeypatch):
    start_other("one")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert mine.ask_all(b"hello") == []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(peers._address(mine._name))
        connection.settimeout(5.0)
        with contextlib.suppress(BrokenPipeError):  # where the other has ended the connection by now
            connection.sendall(peers._LENGTH.pack(1) + b"x")
        with pytest.raises(ConnectionError):
            peers._read(connection, 10)


def test_an_answer_that_fails_is_logged_and_empty(token, caplog):
    def fail(message):
        raise ArithmeticError("no")

    failing = Peers(token, most=10, seconds=5.0)
    failing.start(fail)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(peers._address(failing._name))
        peers._write(connection, b"x")
        assert peers._read(connection, 10) == b""
    assert "could not be answered" in caplog.text
    failing.close()


def test_after_its_end_there_is_no_socket_and_no_thread(token):
    before = set(threading.enumerate())
    ended = Peers(token, most=10, seconds=5.0)
    ended.start(bytes)
    name = ended._name
    assert name in peers._listening()
    ended.close()
    until(lambda: name not in peers._listening())
    until(lambda: not [thread for thread in set(threading.enumerate()) - before if "peer" in thread.name])
    assert ended.ask_all(b"x") == []


def test_a_name_that_is_taken_is_a_mistake_at_the_start(token, mine):
    with pytest.raises(StartError, match="workers cannot listen to one another: Address already in use"):
        Peers(token, most=10, seconds=1.0)
