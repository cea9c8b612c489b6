"""Servers end with all of their children, and their failures are reported in one line."""

import mmap
import os
import sys
import time

import pytest

from benchmarks.errors import ServerFailed
from benchmarks.server_processes import ServerProcess, count_mapped_files, cpu_seconds, resident_bytes, running_server
from kit.bare_python import BARE_PYTHON
from kit.running_processes import is_running

READY = r"gRPC on 127\.0\.0\.1:(\d+)"
SERVER = """
import subprocess, sys, time
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
print("gRPC on 127.0.0.1:1234", flush=True)
time.sleep(60)
"""


def test_a_server_is_ended_with_its_children_even_those_that_ignore_sigterm(tmp_path):
    with running_server("a server", [*BARE_PYTHON, SERVER], READY, tmp_path / "log") as process:
        assert process.port == 1234
        assert process.seconds > 0
        pids = process.pids
        assert len(pids) == 2
        assert resident_bytes(pids) > 1_000_000
    assert not any(is_running(pid) for pid in pids)


def test_a_server_is_ended_where_the_block_fails(tmp_path):
    pids = []

    def measure():
        with running_server("a server", [*BARE_PYTHON, SERVER], READY, tmp_path / "log") as process:
            pids.extend(process.pids)
            raise RuntimeError("measuring failed")

    with pytest.raises(RuntimeError, match="measuring failed"):
        measure()
    assert pids
    assert not any(is_running(pid) for pid in pids)


def test_a_server_that_does_not_come_up_says_why_in_its_last_line(tmp_path):
    command = [*BARE_PYTHON, "import sys; sys.exit('no such model')"]
    with pytest.raises(ServerFailed, match="a server ended by itself with status 1: no such model"):
        ServerProcess("a server", command, READY, tmp_path / "log")


def test_a_server_that_has_died_is_noticed(tmp_path):
    command = [*BARE_PYTHON, "print('gRPC on 127.0.0.1:1', flush=True)"]
    with running_server("a server", command, READY, tmp_path / "log") as process:
        process._process.wait(10)
        with pytest.raises(ServerFailed, match="ended by itself with status 0"):
            process.check_alive()


def test_mapped_files_are_counted_by_name(tmp_path):
    library = tmp_path / "libwanted.so"
    library.write_bytes(bytes(4096))
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        assert count_mapped_files([os.getpid()], "wanted") == 1
    assert count_mapped_files([os.getpid()], "wanted") == 0


def test_processor_time_grows_with_work_and_not_with_waiting():
    pids = [os.getpid()]
    before = cpu_seconds(pids)
    used = time.process_time()
    while time.process_time() - used < 0.2:
        pass
    assert cpu_seconds(pids) - before == pytest.approx(time.process_time() - used, abs=0.05)


LOADING = """
import sys, time
from concurrent import futures
import grpc
answers = iter([b"", b"", b"\\x08\\x01"])  # ServerReadyResponse: twice false, then true
ready = grpc.unary_unary_rpc_method_handler(lambda request, context: next(answers))
server = grpc.server(futures.ThreadPoolExecutor(1))
methods = {"ServerReady": ready}
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)])
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"gRPC on 127.0.0.1:{port}", flush=True)
time.sleep(60)
"""


def test_a_server_that_listens_is_waited_for_until_its_models_are_loaded(tmp_path):
    with running_server("a server", [sys.executable, "-c", LOADING], READY, tmp_path / "log") as process:
        before = process.seconds
        process.wait_for_models()
        assert process.seconds > before


def test_models_that_are_not_loaded_in_time_are_said(tmp_path):
    never = LOADING.replace("next(answers)", 'b""')
    command = [sys.executable, "-c", never]
    with (
        running_server("a server", command, READY, tmp_path / "log", timeout_s=8.0) as process,
        pytest.raises(ServerFailed, match="a server has not loaded its models within 8 s"),
    ):
        process.wait_for_models()
