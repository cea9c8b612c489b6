"""Workers that follow the repository's folder, each by itself, under load, and while one of them dies."""

import os
import signal

from kit.asking import Load
from kit.served import served
from kit.tiny import answers, call_for_factor, publish_tiny
from kit.waiting import until


def test_workers_follow_the_folder(tmp_path):
    root = tmp_path / "repository"
    publish_tiny(root, "scale", 1, 1.5)
    with (
        served(root, "process", workers=2, model_control="poll") as server,
        Load(server.port, 4, reconnect=False, call=call_for_factor).running() as load,
    ):
        assert answers(server.port) == {("1", 1.5)}
        publish_tiny(root, "scale", 2, 2.5)
        until(lambda: load.said["2", 2.5] > 20 and answers(server.port) == {("2", 2.5)})
        (publish_tiny(root, "scale", 3, 3.5) / "model.onnx").write_bytes(b"nonsense")
        until(lambda: "version 3 stays out" in server.log)
        assert answers(server.port) == {("2", 2.5)}
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        until(lambda: "is ready again" in server.log)
        assert answers(server.port) == {("2", 2.5)}
        publish_tiny(root, "scale", 4, 4.5)
        until(lambda: load.said["4", 4.5] > 20 and answers(server.port) == {("4", 4.5)})
        assert before[1] in server.workers()
    assert all(said.startswith("UNAVAILABLE") for said in load.failed)  # those that the dead one had in hand
    assert sum(load.failed.values()) <= 4 * 4
    assert "Traceback" not in server.log
