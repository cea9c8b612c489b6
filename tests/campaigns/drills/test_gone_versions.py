"""Workers that die when the versions that they serve cannot be loaded any more: the port stays."""

import contextlib
import os
import shutil
import signal

import grpc
import pytest

from kit.served import new_channel, served
from kit.tiny import ask_factor, factor_of, publish_tiny
from kit.waiting import until
from rnnserve.protos import inference_pb2_grpc as rpc

PATIENCE = 60.0
OLDER, NEWER, ANEW, GONE = ("1", 1.5), ("2", 2.5), ("2", 9.5), ("nothing", 0.0)
LEFT: dict[str, set[tuple[str, float]]] = {
    "removed": {OLDER},
    "anew": {ANEW},
    "damaged": {OLDER},
    "no_model": {GONE},
    "no_config": {GONE},
    "untouched": {NEWER},
}
"""What a fresh start serves of each model once it has been damaged."""


def publish_all(root):
    for name in LEFT:
        shutil.rmtree(root / name, ignore_errors=True)
        publish_tiny(root, name, 1, 1.5)
        publish_tiny(root, name, 2, 2.5)


def damage_all(root):
    shutil.rmtree(root / "removed" / "2")
    publish_tiny(root, "anew", 2, 9.5)
    (root / "damaged" / "2" / "model.onnx").write_bytes(b"nonsense")
    shutil.rmtree(root / "no_model")
    (root / "no_config" / "config.pbtxt").write_text("nonsense {")


def answers(port, name):
    """What some worker answers, on 12 connections. An error's status counts as nothing."""
    met = set()
    for _ in range(12):
        with new_channel(port) as channel:
            try:
                answer = rpc.GRPCInferenceServiceStub(channel).ModelInfer(ask_factor(name), timeout=30)
                met.add(factor_of(answer))
            except grpc.RpcError as error:
                is_said = error.code().name in ("UNAVAILABLE", "NOT_FOUND") and "connect" not in str(error.details())
                met.add(GONE if is_said else (str(error), 0.0))
    return met


@contextlib.contextmanager
def served_damaged(tmp_path, control):
    root = tmp_path / "repository"
    publish_all(root)
    with served(root, "process", options=("--workers", "2", "--model-control", control)) as server:
        yield server, root


def test_worker_that_could_serve_less_keeps_out_until_the_files_are_back(tmp_path):
    with served_damaged(tmp_path, "none") as (server, root):
        damage_all(root)
        os.kill(server.workers()[0], signal.SIGKILL)
        lacking = "cannot serve the same models as the others (damaged: version 2; no_config: version 2)"
        until(lambda: lacking in server.log)
        assert all(answers(server.port, name) == {NEWER} for name in LEFT)
        publish_all(root)
        os.kill(server.workers()[-1], signal.SIGKILL)  # or a minute later, by itself
        until(lambda: "is ready again" in server.log, PATIENCE)
        assert all(answers(server.port, name) == {NEWER} for name in LEFT)
        assert "Traceback" not in server.log


@pytest.mark.parametrize("control", ["none", "poll"])
def test_what_can_be_served_is_served_when_no_worker_has_more(tmp_path, control):
    with served_damaged(tmp_path, control) as (server, root):
        damage_all(root)
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        until(lambda: server.log.count("is ready again") == 2, PATIENCE)
        for name, left in LEFT.items():
            assert answers(server.port, name) == left, name
        publish_all(root)
        if control == "none":
            server.send(signal.SIGHUP)
        until(lambda: all(answers(server.port, name) == {NEWER} for name in LEFT), PATIENCE)
        assert "Traceback" not in server.log


def test_repository_that_cannot_be_read_for_a_while(tmp_path):
    with served_damaged(tmp_path, "none") as (server, root):
        root.rename(tmp_path / "away")
        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: "there is no folder" in server.log)
        assert answers(server.port, "untouched") == {NEWER}
        (tmp_path / "away").rename(root)
        until(lambda: "is ready again" in server.log, PATIENCE)
        assert all(answers(server.port, name) == {NEWER} for name in LEFT)
        assert "Traceback" not in server.log
