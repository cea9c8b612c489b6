"""Connections that send no requests, but frames of HTTP/2."""

import contextlib
import socket
import struct
import threading
import time

import pytest

from campaigns.drills.drilled import MODEL, Bystander, Infer, drilled, points
from kit.inference_requests import request
from kit.waiting import until

HOSTILE_SECONDS = 1.0

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PRIORITY, SETTINGS, PING, WINDOW_UPDATE, UNKNOWN = 2, 4, 6, 8, 0x77


def frame(kind, payload=b"", flags=0, stream=0):
    """A frame as bytes: size, type, flags and stream before its payload."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


UNANSWERED = {
    "windows": frame(WINDOW_UPDATE, struct.pack(">I", 1), stream=101),
    "priorities": frame(PRIORITY, struct.pack(">IB", 3, 16), stream=1),
    "acknowledged-pings": frame(PING, bytes(8), flags=1),
    "unknown": frame(UNKNOWN),
}
"""Frames that need no answer, so that no window bounds them."""

FLOOD_SECONDS = 3.0

IDLE_CONNECTIONS, MOST_CONNECTIONS = 400, 1200
"""Connections: as many as it takes until they have filled much, which is not always as many."""
SHORT_BYTES, LITTLE, GROWN = (64 + 144) << 20, 16 << 20, 128 << 20
"""Resident memory from which it is short: what requests may hold, and what is not counted. A little beside that. And
what the process may have grown by when they are closed, which none of them keeps."""


SLOW_DOWN = "RESOURCE_EXHAUSTED: the server's memory is short"
"""What large requests may be told before the connections have been idle for long enough to be ended."""


def flood(port, frames):
    """Send frames on one connection for some seconds, as fast as they are taken."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(PREFACE + frame(SETTINGS))
        connection.settimeout(0.2)
        ends = time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < ends:
            with contextlib.suppress(TimeoutError):
                connection.send(frames)


def flood_from(port, frames, count):
    floods = [threading.Thread(target=flood, args=(port, frames)) for _ in range(count)]
    for one in floods:
        one.start()
    for one in floods:
        one.join()


def test_pings_whose_answers_are_not_read(server, bystander):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(PREFACE + frame(SETTINGS))
        time.sleep(0.2)
        connection.sendall(frame(PING, b"12345678") * 50_000)
        time.sleep(1)
    time.sleep(3)  # a bystander that waits has told nothing yet
    assert len(bystander.waits) > 10
    assert bystander.longest < HOSTILE_SECONDS


@pytest.mark.parametrize("kind", UNANSWERED)
@pytest.mark.parametrize("connections", [1, 8])
def test_frames_that_need_no_answer(server, bystander, kind, connections):
    """One poll of the lane's thread went on for as long as they came."""
    flood_from(server.port, UNANSWERED[kind] * 20_000, connections)
    assert len(bystander.waits) > 10
    assert bystander.longest < HOSTILE_SECONDS


@pytest.mark.parametrize("kind", ["windows", "unknown"])
def test_no_worker_is_killed_for_them(repository, kind):
    with drilled(repository, "--workers", "1") as server:
        with Bystander(server.port) as bystander:
            for _ in range(4):  # a lane without a turn is taken for hung after 10 s
                flood_from(server.port, UNANSWERED[kind] * 20_000, 1)
        assert bystander.failures == []
        assert bystander.longest < HOSTILE_SECONDS
        assert "no turns" not in server.server.log


def test_connections_that_lie_idle_after_large_messages(repository):
    """A thousand kept more than a gigabyte: what gRPC had read into. Sequences, and what is asked, go on."""
    refused = request(MODEL, {"inputs": points(256, 4096)}, ["logits"]).SerializeToString()  # 8 MB
    small = request(MODEL, {"input": points(8, 8)}, ["logits"]).SerializeToString()
    options = "--max-held-bytes", str(64 << 20), "--max-response-bytes", str(8 << 20), "--max-wait", "1"
    with drilled(repository, *options) as server, Bystander(server.port) as bystander:
        at_first, clients = server.resident, []

        def has_ended_some():
            return "that had sent much and lay idle" in server.server.log

        while len(clients) < IDLE_CONNECTIONS or (len(clients) < MOST_CONNECTIONS and not has_ended_some()):
            clients.append(Infer(server.port))
            assert clients[-1].said(refused).startswith(("INVALID_ARGUMENT", SLOW_DOWN))
        assert server.peak > at_first + SHORT_BYTES
        until(has_ended_some)  # it is said when enough is free
        beside_them = server.resident
        for client in clients[::16]:  # they connect anew, and notice nothing
            assert client.said(small) == "OK: "
        for client in clients:
            client.channel.close()
        assert server.settles_below(at_first + GROWN, 30)
        assert beside_them < server.resident + SHORT_BYTES + LITTLE
        assert bystander.failures == []


def test_much_ordinary_traffic_is_never_cut_off(server, bystander):
    """The largest requests from several connections, small ones on others, and pings: each is answered."""
    large = request(MODEL, {"input": points(450, 4096)}, ["logits"]).SerializeToString()  # 14.7 MB
    small = request(MODEL, {"input": points(8, 8)}, ["logits"]).SerializeToString()
    clients = [Infer(server.port) for _ in range(4)]
    futures = [client.call.future(large, timeout=120) for client in clients[:3] for _ in range(4)]
    futures += [clients[3].call.future(small, timeout=120) for _ in range(1024)]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(PREFACE + frame(SETTINGS))
        for _ in range(50):
            connection.sendall(frame(PING, b"12345678") * 10)
            time.sleep(0.02)
    assert {(future.code().name, future.details()) for future in futures} == {("OK", "")}
