"""Workers that die when the versions that they serve cannot be loaded any more: the port stays, and heals by itself."""

import contextlib
import functools
import os
import shutil
import signal
import time

import grpc
import pytest

from kit.served import new_channel, served
from kit.tiny import ask_factor, factor_of, publish_tiny
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
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


def kill(server, how):
    """Have workers die; return when each has been replaced."""
    before = server.workers()
    assert len(before) == 2
    victims = {"one": [before[:1]], "each": [before[:1], before[1:]], "all": [before]}[how]
    for pids in victims:
        count = server.log.count("is ready again") + len(pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until(functools.partial(have_come_back, server, count), PATIENCE)


def have_come_back(server, count):
    return server.log.count("is ready again") >= count


@contextlib.contextmanager
def served_damaged(tmp_path, control):
    root = tmp_path / "repository"
    publish_all(root)
    options = {"none": [], "explicit": ["--load-model", "*"], "poll": ["--poll", "0.3"]}[control]
    with served(root, "process", options=("--workers", "2", "--model-control", control, *options)) as server:
        yield server, root


@pytest.mark.parametrize("how", ["one", "each", "all"])
@pytest.mark.parametrize("control", ["none", "explicit", "poll"])
def test_what_can_be_served_is_served_and_all_agree_when_the_versions_are_back(tmp_path, control, how):
    with served_damaged(tmp_path, control) as (server, root):
        damage_all(root)
        kill(server, how)
        for name, left in LEFT.items():
            met = answers(server.port, name)
            # With one replaced, the other answers on with what it has in memory; one that polls follows the folder.
            assert met <= (left | {NEWER} if how == "one" else left), name
            assert control != "none" or how != "one" or NEWER in met, name
        assert server.log.count("so that it serves other versions than were served") <= 2
        assert "Traceback" not in server.log
        publish_all(root)
        if control == "none":
            server.send(signal.SIGHUP)
        if control == "explicit":
            with new_channel(server.port) as channel:
                for name in LEFT:
                    rpc.GRPCInferenceServiceStub(channel).RepositoryModelLoad(
                        pb.RepositoryModelLoadRequest(model_name=name), timeout=30
                    )
        until(lambda: all(answers(server.port, name) == {NEWER} for name in LEFT), PATIENCE)


@pytest.mark.parametrize("control", ["none", "explicit"])
def test_a_worker_that_serves_less_is_mended_without_a_hand(tmp_path, control):
    """The same files come back, as where a disk was away."""
    with served_damaged(tmp_path, control) as (server, root):
        kept = tmp_path / "kept"
        shutil.copytree(root, kept)
        damage_all(root)
        kill(server, "one")
        shutil.rmtree(root)
        kept.rename(root)
        until(lambda: all(answers(server.port, name) == {NEWER} for name in LEFT), PATIENCE)
        assert server.log.count("like the others again") == 1


@pytest.mark.parametrize("how", ["one", "each", "all"])
@pytest.mark.parametrize("control", ["none", "explicit", "poll"])
def test_a_repository_that_cannot_be_read_for_a_while(tmp_path, control, how):
    with served_damaged(tmp_path, control) as (server, root):
        root.rename(tmp_path / "away")
        before = server.workers()
        for pid in before[: 1 if how == "one" else 2]:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.0 if how == "all" else 1.0)
        until(lambda: "there is no folder" in server.log)
        if how == "one":
            assert answers(server.port, "untouched") == {NEWER}
        (tmp_path / "away").rename(root)
        until(lambda: answers(server.port, "untouched") == {NEWER}, PATIENCE)
        until(lambda: server.log.count("is ready again") >= (1 if how == "one" else 2), PATIENCE)
        assert all(answers(server.port, name) == {NEWER} for name in LEFT)
        assert "Traceback" not in server.log
