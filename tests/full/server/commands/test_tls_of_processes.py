"""A process of the HTTP gateway that ends while the files for TLS are no good is back when they are good again."""

import os
import signal

import pytest

from kit.rotated_files import RotatedFiles, shown
from kit.running_processes import children_of
from kit.served import served
from kit.tiny import publish_tiny
from kit.waiting import until


@pytest.fixture
def root(tmp_path):
    publish_tiny(tmp_path / "repository", "scale", 1, 1.5)
    return tmp_path / "repository"


def shows(port, certificate):
    try:
        return shown(port) == certificate
    except OSError:
        return False


def test_gateway_is_back_when_the_files_are_good_again(root, tmp_path):
    rotated = RotatedFiles(tmp_path / "tls", mutual=False)
    with served(root, "process", http_port=0, options=rotated.options()) as server:
        port = int(server.http_address.rpartition(":")[2])
        until(lambda: shows(port, rotated.certificate))
        rotated.replace(key=rotated.issued()[1])
        (gateway,) = children_of(server.process.pid, b"\0web\0")
        os.kill(gateway, signal.SIGKILL)
        until(lambda: "a process of the HTTP gateway ended with exit status 1" in server.log)
        assert shown(server.port) == rotated.certificate  # the server has the last good files in memory
        certificate = rotated.rotate()
        until(lambda: shows(port, certificate))
