"""What `rnnserve serve` makes of its arguments: one server, or workers that run the same command."""

import argparse
import io
import logging
import os
import sys
from pathlib import Path

import pytest

from rnnserve.server import Settings
from rnnserve.server.commands import serve
from rnnserve.server.commands.options import write_options


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def done(monkeypatch):
    """What the command does, instead of doing it."""
    done = []
    monkeypatch.setattr(logging, "basicConfig", lambda **how: done.append(how))
    monkeypatch.setattr(serve, "_serve", lambda *how: done.append(("serve", *how)))
    monkeypatch.setattr(serve, "_supervise", lambda *how: done.append(("supervise", *how)))
    return done


def test_without_workers_it_is_the_server(done):
    assert serve.run(parse("models")) == 0
    plain = {"level": "INFO", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    assert done == [plain, ("serve", Settings(Path("models")), None, None)]


def test_a_worker_names_its_process_in_the_log(done):
    assert serve.run(parse("models", "--ready-fd", "0", "--lifeline-fd", "7", "--log-level", "error")) == 0
    named = {"level": "ERROR", "format": f"%(asctime)s %(levelname)s [{os.getpid()}] %(name)s: %(message)s"}
    assert done == [named, ("serve", Settings(Path("models")), 0, 7)]


def test_with_workers_it_supervises(done):
    assert serve.run(parse("models", "--workers", "2", "--log-level", "debug")) == 0
    assert done[1:] == [("supervise", Settings(Path("models")), 2, "debug")]
    assert parse("models").workers == 1


def test_workers_run_the_same_command_on_one_port(monkeypatch, capsys):
    made = []

    class Supervisor:
        def __init__(self, command, count):
            made.extend([command(["--ready-fd", "3"]), count])

        def stop(self):
            made.append("stop")

        def run(self, on_ready, *, grace):
            on_ready()
            made.append(grace)

    stops = []
    monkeypatch.setattr(serve, "Supervisor", Supervisor)
    monkeypatch.setattr(serve, "_on_signals", stops.append)
    settings = Settings(Path("models"), grpc_port=0, max_queue=7, grace=0.5)
    serve._supervise(settings, 3, "warning")
    command, count, grace = made
    printed = capsys.readouterr().out
    port = int(printed.removeprefix("gRPC on 127.0.0.1:"))
    assert printed == f"gRPC on 127.0.0.1:{port}\n"
    assert port > 0
    options = write_options(Settings(Path("models"), grpc_port=port, max_queue=7, grace=0.5))
    start = [sys.executable, "-m", "rnnserve.cli", "serve", "--log-level=warning", "--ready-fd", "3"]
    assert (command, count, grace) == ([*start, *options], 3, 0.5)
    (stop,) = stops
    stop()
    assert made[-1] == "stop"


def test_the_line_that_says_where_is_written_at_once(monkeypatch):
    """Whoever waits for it reads a pipe, which would otherwise keep it until the end."""
    output = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", output)
    serve._print_ready("::1", 8001)
    assert output.buffer.getvalue() == b"gRPC on ::1:8001\n"
