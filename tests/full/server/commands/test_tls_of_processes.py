"""Processes that are started anew while the files for TLS are no good serve what the others serve."""

import os
import re
import signal
import urllib.request

import pytest

from kit.rotated_files import RotatedFiles, client_context, shown
from kit.running_processes import children_of
from kit.served import served
from kit.tiny import publish_tiny
from kit.waiting import PATIENCE, until


@pytest.fixture
def root(tmp_path):
    publish_tiny(tmp_path / "repository", "scale", 1, 1.5)
    return tmp_path / "repository"


def test_workers(root, tmp_path):
    """A worker that is killed while there is a key of another certificate; then both take the next pair."""
    rotated = RotatedFiles(tmp_path / "tls", "linked")
    with served(root, "process", workers=2, metrics_port=0, options=rotated.options()) as server:
        address = server.metrics_address
        certificate = rotated.rotate()
        until(lambda: counted(address)["ready"] == 2)
        until(lambda: server.log.count("the files for TLS are new") == 3)  # the supervisor keeps them, too
        assert shown(server.port) == certificate
        rotated.replace(key=rotated.issued()[1])
        until(lambda: counted(address)["refused"] == 2)
        first, second = server.workers()
        os.kill(first, signal.SIGKILL)
        until(lambda: len(server.workers()) == 2 and first not in server.workers())
        until(lambda: "what was served before goes on" in server.log)
        os.kill(second, signal.SIGKILL)  # now the new one answers, or none does
        until(lambda: shows(server.port, certificate))
        until(lambda: len(server.workers()) == 2)
        last = rotated.rotate()
        until(lambda: all(shows(server.port, last) for _ in range(8)))


def counted(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as reply:
        text = reply.read().decode()
    found = re.findall(r'^rnnserve_tls_reloads_total\{outcome="(\w+)"\} (\d+)\.0$', text, re.MULTILINE)
    return {outcome: int(count) for outcome, count in found}


def shows(port, certificate):
    try:
        return shown(port) == certificate
    except OSError:
        return False


def test_the_http_front(root, tmp_path):
    rotated = RotatedFiles(tmp_path / "tls", mutual=False)
    with served(root, "process", http_port=0, options=rotated.options()) as server:
        port = int(server.http_address.rpartition(":")[2])
        until(lambda: shows(port, rotated.certificate))
        certificate = rotated.rotate()
        until(lambda: shows(port, certificate) and shows(server.port, certificate))
        rotated.replace(key=rotated.issued()[1])
        (front,) = children_of(server.process.pid, b"\0web\0")
        os.kill(front, signal.SIGKILL)
        until(lambda: front not in children_of(server.process.pid, b"\0web\0"))
        until(lambda: shows(port, certificate))
        url = f"https://localhost:{port}/v2/health/ready"
        with urllib.request.urlopen(url, timeout=PATIENCE, context=client_context(rotated.trusted)) as reply:
            assert reply.status == 200
