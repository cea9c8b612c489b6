"""`rnnserve serve` as processes: how they end, take signals, and go on though nobody reads what they log."""

import contextlib
import errno
import fcntl
import functools
import itertools
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from kit.narrowed import limited
from kit.rotated_files import RotatedFiles, shown
from kit.running_processes import children_of, is_running
from kit.served import RNNSERVE, served_process
from kit.tiny import answers, is_answered_by, publish_tiny
from kit.waiting import until

PATIENCE = 30.0
WORKERS = ("--workers", "2")


def serve_command(root, port=0):
    options = ["--no-http", "--grpc-port", str(port), "--provider", "cpu"]
    return [*RNNSERVE, "serve", str(root), *options]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "repository"
    publish_tiny(root, "scale", 1, 1.5)
    return root


def test_workers_and_load_checks_do_not_outlive_a_killed_supervisor_even_when_stopped(root, tmp_path):
    mark = tmp_path / "mark"
    slow = (
        "import os, sys, time\n"
        f"if 'load_checks' in ' '.join(sys.orig_argv) and os.path.exists({str(mark)!r}):\n"
        "    from rnnserve.common import guarded_process\n"
        f"    guarded_process.limit_memory = lambda _: (open({str(mark)!r}, 'a').write('x'), time.sleep(3600))\n"
    )
    with served_process(root, workers=2, patch=slow) as server:
        workers = server.workers()
        mark.touch()
        server.send(signal.SIGHUP)  # a new worker, whose trials take for ever
        until(lambda: mark.read_text() == "x")
        of_supervisor = children_of(server.process.pid)
        every = {*of_supervisor, *itertools.chain.from_iterable(map(children_of, of_supervisor))}
        assert set(workers) < every
        assert len(every) == 4
        for pid in every:
            os.kill(pid, signal.SIGSTOP)
        server.kill()
        try:
            until(lambda: not any(is_running(pid) for pid in every))
        finally:
            for pid in filter(is_running, every):
                os.kill(pid, signal.SIGKILL)
        until(lambda: is_free(server.port))  # their threads end after them


def is_free(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_sigusr1_prints_the_stacks_of_all_threads(root):
    processes = 3
    with served_process(root, workers=2) as server:
        server.send(signal.SIGUSR1)
        until(lambda: server.log.count("(most recent call first)") >= processes)
        assert server.log.count("Current thread 0x") + server.log.count("Thread 0x") >= processes
        assert answers(server.port) == {("1", 1.5)}


@pytest.mark.parametrize(("state", "workers"), [("full", WORKERS), ("gone", ())])
def test_server_serves_reloads_and_ends_although_nobody_reads_its_log(root, workers, state):
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, 4096)
    if state == "full":
        os.set_blocking(write_fd, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write_fd, b"x" * 512)
        os.set_blocking(write_fd, True)
    command = serve_command(root)
    options = ["--model-control", "poll", "--log-level", "debug", "--grace", "1", *workers]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=write_fd, text=True) as process:
        os.close(write_fd)
        if state == "gone":
            os.close(read_fd)
        hangs = threading.Timer(PATIENCE, process.kill)
        hangs.start()
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(":")[2] or 0)
            assert port
            hangs.cancel()
            process.send_signal(signal.SIGUSR1)  # more than the pipe holds
            for version in (2, 3):
                publish_tiny(root, "scale", version, 0.5 + version)
                until(functools.partial(is_served, port, str(version), 0.5 + version))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            hangs.cancel()
            process.kill()
    if state != "gone":
        os.close(read_fd)


def is_served(port, version, factor):
    try:
        return is_answered_by(port, version, factor)
    except grpc.RpcError:  # it does not listen yet
        return False


def test_closed_terminal_ends_the_server(root):
    """As it ended before a hang up was a reason to load the repository again."""
    command = [*serve_command(root), *WORKERS]
    pid, fd = pty.fork()
    if not pid:
        os.execv(sys.executable, command)
    said, ended = b"", (0, 0)
    try:
        while not re.search(rb"gRPC on [^\r]*\r", said):
            said += os.read(fd, 1 << 16)
        os.close(fd)
        deadline = time.monotonic() + PATIENCE
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        if not ended[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(ended[1]) == 0


def test_server_recovers_after_running_out_of_descriptors(root):
    with served_process(root) as server, contextlib.ExitStack() as stack:
        used = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        for _ in range(30):
            sock = stack.enter_context(socket.socket())
            sock.connect(("127.0.0.1", server.port))
        until(lambda: "File descriptor limit reached" in server.log)
        stack.close()
        until(lambda: answers(server.port) == {("1", 1.5)})
        assert "Traceback" not in server.log


@pytest.mark.parametrize(("limit", "workers"), [(100_000, ()), (250_000, WORKERS)])
def test_too_little_address_space_is_one_line_per_process(root, limit, workers):
    command = serve_command(root)
    run = subprocess.run(
        limited([*command, *workers], RLIMIT_AS=limit << 10), capture_output=True, text=True, timeout=60, check=False
    )
    lines = run.stderr.splitlines()
    said = "rnnserve serve: cannot start: not enough memory or address space (see ulimit -v)"
    assert run.returncode == 1
    assert lines[0] == said
    ended = [f"rnnserve serve: worker {number} ended before it was ready, with exit status 1" for number in (0, 1)]
    assert set(lines[1:]) <= {said, *ended}
    assert bool(lines[1:]) == bool(workers)


def shows(port, certificate):
    try:
        return shown(port) == certificate
    except OSError:
        return False


def test_gateway_recovers_when_its_files_are_valid_again(root, tmp_path):
    rotated = RotatedFiles(tmp_path / "tls", mutual=False)
    with served_process(root, http_port=0, options=rotated.options()) as server:
        port = int(server.http_address.rpartition(":")[2])
        until(lambda: shows(port, rotated.certificate))
        rotated.replace(key=rotated.issued()[1])
        (gateway,) = children_of(server.process.pid, b"\0web\0")
        os.kill(gateway, signal.SIGKILL)
        until(lambda: "a process of the HTTP gateway ended with exit status 1" in server.log)
        assert shown(server.port) == rotated.certificate  # the server has the last good files in memory
        certificate = rotated.rotate()
        until(lambda: shows(port, certificate))
