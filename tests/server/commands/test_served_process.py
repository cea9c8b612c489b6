"""`rnnserve serve` as a process."""

import shutil
import signal

import pytest

from kit.served import served
from kit.tiny import answers, publish_tiny
from kit.waiting import until


@pytest.fixture
def root(tmp_path):
    publish_tiny(tmp_path / "repository", "scale", 1, 1.5)
    return tmp_path / "repository"


def test_hang_up_loads_the_repository_again_and_keeps_what_served_when_it_is_bad(root, tmp_path):
    publish_tiny(root, "other", 1, 7.0)
    with served(root, "process") as server:
        publish_tiny(root, "scale", 2, 2.5)
        shutil.rmtree(root / "other")
        server.send(signal.SIGHUP)
        until(lambda: "the repository has been loaded again" in server.log)
        assert answers(server.port) == {("2", 2.5)}
        (root / "scale" / "2" / "model.onnx").write_bytes(b"nonsense")
        server.send(signal.SIGHUP)
        until(lambda: server.log.count("the repository has been loaded again") == 2)
        assert answers(server.port) == {("2", 2.5)}
        root.rename(tmp_path / "away")
        server.send(signal.SIGHUP)
        until(lambda: "what serves stays as it is" in server.log)
        root.mkdir()
        server.send(signal.SIGHUP)
        until(lambda: "no model lies in" in server.log)
        assert answers(server.port) == {("2", 2.5)}
        assert "Traceback" not in server.log
