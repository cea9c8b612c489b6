"""What `rnnserve serve` makes of its arguments: one server, or workers that run the same command."""

import argparse
import io
import logging
import os
import signal
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest

from rnnserve.server import Settings
from rnnserve.server.commands import serve
from rnnserve.server.commands.metrics import Metrics
from rnnserve.server.commands.options import write_options
from rnnserve.server.settings import CommandSettings


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def done(monkeypatch):
    """What the command does, instead of doing it."""
    done = []
    monkeypatch.setattr(logging, "basicConfig", lambda **how: done.append(how))
    monkeypatch.setattr(serve, "_prepare_process", lambda _: None)
    monkeypatch.setattr(serve, "_serve", lambda *how: done.append(("serve", *how)))
    monkeypatch.setattr(serve, "_serve_worker", lambda *how: done.append(("worker", *how)))
    monkeypatch.setattr(serve, "_supervise", lambda *how: done.append(("supervise", *how)) or 143)
    return done


def test_without_workers_it_is_the_server(done):
    assert serve.run(parse("models", "--no-http")) == 0
    plain = {"level": "INFO", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    assert done == [plain, ("serve", Settings(Path("models")), ANY, None, "--no-http")]


def test_a_worker_names_its_process_in_the_log_and_shares_its_port(done):
    assert serve.run(parse("models", "--report-fd", "0", "--lifeline-fd", "7", "--log-level", "error")) == 0
    named = {"level": "ERROR", "format": f"%(asctime)s %(levelname)s [{os.getpid()}] %(name)s: %(message)s"}
    assert done == [named, ("worker", Settings(Path("models"), share_port=True), ANY, None)]


def test_with_workers_it_supervises(done):
    options = CommandSettings(no_http=True, workers=2, log_level="debug")
    assert serve.run(parse("models", "--no-http", "--workers", "2", "--log-level", "debug")) == 143
    assert done[1:] == [
        ("supervise", Settings(Path("models")), options, ANY, None, "--workers=2 --no-http --log-level=debug")
    ]


def test_workers_run_the_same_command_on_one_port(monkeypatch, capsys):
    made = {}

    class Supervisor:
        def __init__(self, command, count, signals, **seconds):
            made.update(seconds, command=command(["--report-fd", "3"]), count=count)
            for number in (signal.SIGHUP, signal.SIGUSR2):
                signal.raise_signal(number)
                assert signals.read() == [number]

        def run(self, on_ready):
            on_ready()
            return 130

    monkeypatch.setattr(serve, "Supervisor", Supervisor)
    monkeypatch.setattr(serve, "show_stacks_at_signals", lambda: None)
    settings = Settings(Path("models"), grpc_port=0, max_queue=7, drain=2.0, grace=0.5)
    options = CommandSettings(workers=3, log_level="warning")
    assert serve._supervise(settings, options, Metrics(), None, "") == 130
    printed = capsys.readouterr().out
    port = int(printed.removeprefix("gRPC on 127.0.0.1:"))
    assert printed == f"gRPC on 127.0.0.1:{port}\n"
    assert port > 0
    words = write_options(Settings(Path("models"), grpc_port=port, max_queue=7, drain=2.0, grace=0.5))
    start = [sys.executable, "-m", "rnnserve.cli", "serve", "--log-level=warning", "--workers=3"]
    command = [word for word in made["command"] if not word.startswith("--desired-models=")]
    assert (command, made["count"]) == ([*start, "--report-fd", "3", *words], 3)
    assert (made["drain"], made["grace"], made["end_gateway"]()) == (2.0, 0.5, True)


def test_the_help_explains_the_signals_and_names_no_internal_option():
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    text = parser.format_help()
    assert "\n  SIGHUP            with --workers: replace them, one after another" in text
    assert "(default: 5.0)" in text
    assert "-fd" not in text


def test_the_line_that_says_where_is_written_at_once(monkeypatch):
    """Whoever waits for it reads a pipe, which would otherwise keep it until the end."""
    output = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", output)
    serve._print_ready("::1", 8001)
    assert output.buffer.getvalue() == b"gRPC on ::1:8001\n"
    serve._print_ready("::1", 8001, 8000)
    assert output.buffer.getvalue().endswith(b"\ngRPC on ::1:8001\nHTTP on ::1:8000\n")
