"""The metrics port answers scrapes, and nothing else, whatever other clients do."""

import http.client
import socket

import pytest

from rnnserve.server import Settings
from rnnserve.server.commands.metrics import SOCKET_NAME, Metrics, metrics_served
from rnnserve.server.errors import StartError
from rnnserve.server.settings import CommandSettings


@pytest.fixture
def scraped(monkeypatch):
    metrics = Metrics()
    monkeypatch.setattr(metrics, "text", lambda accept: (b"a 1\n", f"text/plain{accept}"))
    listener = socket.create_server(("127.0.0.1", 0))
    metrics.answer_on(listener)
    yield listener.getsockname()[1]
    metrics.stop()


def ask(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, reply.headers["Content-Type"], reply.read()
    finally:
        connection.close()


def test_metrics_port_answers_only_scrapes(scraped):
    assert ask(scraped, "GET", "/metrics?x=1") == (200, "text/plain", b"a 1\n")
    assert ask(scraped, "HEAD", "/metrics") == (200, "text/plain", b"")
    assert ask(scraped, "GET", "/secret")[0] == 404
    assert ask(scraped, "POST", "/metrics")[0] == 501


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\n", b"x" * 20000, b"\r\n\r\n"])
def test_silent_client_does_not_block_scrapes(scraped, sent):
    with socket.create_connection(("127.0.0.1", scraped)) as idle:
        idle.sendall(sent)
        assert ask(scraped, "GET", "/metrics")[0] == 200


def test_scrapes_are_refused_after_the_end(tmp_path):
    settings = Settings(private_sockets=tmp_path)
    with metrics_served(CommandSettings(metrics_port=0), settings) as metrics:
        assert ask(metrics.port, "GET", "/metrics")[0] == 200
        with socket.socket(socket.AF_UNIX) as scraper:
            scraper.connect(str(tmp_path / SOCKET_NAME))
            scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert scraper.recv(12) == b"HTTP/1.1 200"
    with pytest.raises(ConnectionRefusedError):
        ask(metrics.port, "GET", "/metrics")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port} for metrics"),
            metrics_served(CommandSettings(metrics_port=port), Settings()),
        ):
            pass
