"""The HTTP gateway's processes: when the server starts them, and what happens when one ends."""

import importlib.util
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from kit.narrowed import BARE_PYTHON
from kit.serve_options import configured
from kit.waiting import until
from rnnserve.server import Settings
from rnnserve.server.commands import http_gateway
from rnnserve.server.commands.http_gateway import HttpGateway
from rnnserve.server.errors import StartError
from rnnserve.server.settings import CommandSettings

ECHO = """
import os, signal, socket, sys
fd = int(next(word for word in sys.argv if word.startswith("--listen-fd=")).partition("=")[2])
listener = socket.socket(fileno=fd)
while True:
    connection, _ = listener.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.close()
"""


def arguments(*words: str) -> CommandSettings:
    return configured("models", *words).command


@pytest.fixture
def without_the_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "orjson" else find(name))


@pytest.fixture
def taken(monkeypatch):
    """The usual port, in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(http_gateway, "HTTP_PORT", listener.getsockname()[1])
        yield listener.getsockname()[1]


def settings_within(args):
    with http_gateway.http_gateway(args, Settings(Path("models"))) as (settings, _):
        return settings


def test_no_http_starts_no_gateway(caplog):
    assert settings_within(arguments("--no-http")) == Settings(Path("models"))
    assert not caplog.records
    with pytest.raises(StartError, match="exclude each other"):
        settings_within(arguments("--http-port", "0", "--no-http"))


def test_missing_extra_disables_http_except_with_http_port(without_the_extra, caplog):
    caplog.set_level("INFO")
    assert settings_within(arguments()) == Settings(Path("models"))
    (line,) = caplog.messages
    assert "pip install '.[web]'" in line
    with pytest.raises(StartError, match=r"needs the package orjson.*pip install '\.\[web\]'"):
        settings_within(arguments("--http-port", "0"))


def test_port_in_use_disables_http_except_with_http_port(taken, caplog):
    assert settings_within(arguments()) == Settings(Path("models"))
    (line,) = caplog.messages
    assert f"127.0.0.1:{taken}" in line
    assert "--http-port" in line
    with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{taken} for HTTP"):
        settings_within(arguments("--http-port", str(taken)))


def test_gateway_socket_folder_is_private_and_removed_at_the_end():
    with http_gateway.http_gateway(arguments("--http-port", "0"), Settings(Path("models"))) as (settings, _):
        folder = settings.private_sockets
        assert settings.http_port
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "1.sock").touch()
    assert not folder.exists()


def test_gateway_command_repeats_the_servers_settings():
    tls: dict[str, Any] = {"tls_certificate": Path("c"), "tls_key": Path("k"), "tls_client_ca": Path("a")}
    settings = Settings(Path("m"), host="::1", log_requests="all", **tls)
    allowed = ["--http-allow-host=a", "--http-allow-host=https://b.example"]
    told = arguments("--log-level", "error", "--log-format", "json", *allowed)
    command = http_gateway._command_line(told, settings, Path("/sockets"))
    options = "--upstream=unix:/sockets --host=::1 --log-level=error --log-format=json --log-requests=all"
    options += " --grace=5.0 --max-body-bytes=33554432 --allow-host=a --allow-host=https://b.example"
    options += " --tls-certificate=c --tls-key=k --tls-client-ca=a"
    assert command[3:] == ["web", *options.split()]


def answering(port: int) -> int:
    """Return the id of the process that accepts a connection."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        return int(connection.recv(100))


@pytest.fixture
def gateway(tmp_path):
    """Makes gateways of one process, and ends them."""
    made = []

    def make(*command):
        listener = socket.create_server(("127.0.0.1", 0))
        made.append(HttpGateway(listener, tmp_path, command, 1, grace=5.0))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.end()
        assert each.wait()


def test_ended_process_is_replaced_and_no_connection_is_refused(gateway, caplog):
    served = gateway(*BARE_PYTHON, ECHO)
    first = answering(served.port)
    os.kill(first, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{first}").exists())
    second = answering(served.port)
    assert second != first
    (line,) = caplog.messages
    assert "a process of the HTTP gateway ended with signal SIGKILL" in line
    served.end()
    assert served.wait()
    assert not Path(f"/proc/{second}").exists()


def test_process_that_does_not_end_is_killed(gateway, monkeypatch):
    monkeypatch.setattr(http_gateway, "_END_SECONDS", -4.9)
    stubborn = gateway(*BARE_PYTHON, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + ECHO)
    pid = answering(stubborn.port)
    stubborn.end()
    until(lambda: stubborn.wait(0.0))
    assert not Path(f"/proc/{pid}").exists()
