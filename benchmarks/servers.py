"""How each server of the table is started on a model."""

import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import scenarios
from benchmarks.environments import BENCH
from benchmarks.peers import triton
from benchmarks.processes import Process, free_port, started
from benchmarks.questions import Question
from benchmarks.source_trees import SourceTree
from rnnserve.protos import inference_pb2 as pb

__all__ = ["CONSOLE_SCRIPT", "READY", "StartServer", "start", "start_from_tree"]

CONSOLE_SCRIPT = str(Path(sys.executable).with_name("rnnserve"))

READY = r"gRPC on 127\.0\.0\.1:(\d+)"

StartServer = Callable[[str, Path, str, Path, Question], AbstractContextManager[Process]]
"""Starts a server with the arguments of `start`."""

_OURS = {
    scenarios.LANE: ("--transport", "lane"),
    scenarios.PUBLIC: ("--transport", "public"),
    scenarios.TWO_WORKERS: ("--transport", "lane", "--workers", "2"),
}
_PLAIN = {scenarios.GRPC_AIO: "aio", scenarios.GRPC_SERVER: "threads"}


def start(server: str, repository: Path, model: str, work: Path, question: Question) -> AbstractContextManager[Process]:
    """Start a server; leaving the context ends it.

    Args:
        server: One of `scenarios.ALL_SERVERS`.
        repository: Holds the model, as `rnnserve export` publishes; every server runs its model.onnx.
        model: Its name there.
        work: A folder for logs and whatever else the server needs.
        question: What `scenarios.CONSTANT` knows the answer to.

    Raises:
        ServerFailed: If it does not come up.
        Missing: If it cannot be had here.
    """
    folder = _folder(work, server, model)
    log = folder.with_suffix(".log")
    onnx = repository / model / "1" / "model.onnx"
    if server in _OURS:
        command = [CONSOLE_SCRIPT, "serve", str(repository), "--grpc-port", "0", *_OURS[server]]
        return started(server, command, READY, log)
    if server in _PLAIN:
        command = [sys.executable, "-m", "benchmarks.peers.plain", _PLAIN[server], model, str(onnx)]
        return started(server, command, READY, log)
    if server == scenarios.CONSTANT:
        response = folder / "response"
        response.write_bytes(_response(model, question))
        return started(server, [sys.executable, "-m", "benchmarks.peers.constant", str(response)], READY, log)
    BENCH.ensure()
    ragged = server == scenarios.TRITON_RAGGED
    ready = triton.prepare(BENCH, folder, model, onnx, free_port(), ragged=ragged)
    return started(server, ready.command, triton.READY, log, ready.environment)


def start_from_tree(
    server: str, tree: SourceTree, repository: Path, model: str, work: Path
) -> AbstractContextManager[Process]:
    """Start the server of a source tree, on the lane.

    Args:
        server: Its name, for messages and for its log.
        tree: The tree whose code runs.
        repository: Holds the model, as `rnnserve export` publishes.
        model: Its name there, for the log.
        work: A folder for logs.

    Raises:
        ServerFailed: If it does not come up, or if other code than the tree's would run.
    """
    command = tree.command(["serve", str(repository), "--grpc-port", "0", "--transport", "lane"])
    log = _folder(work, server, model).with_suffix(".log")
    return started(server, command, READY, log, tree.environment)


def _folder(work: Path, server: str, model: str) -> Path:
    folder = work / f"{re.sub(r'[^a-z0-9]+', '_', server.lower()).strip('_')}-{model}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _response(model: str, question: Question) -> bytes:
    logits = question.logits.astype("<f4")
    response = pb.ModelInferResponse(model_name=model, model_version="1", raw_output_contents=[logits.tobytes()])
    response.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
    return response.SerializeToString()
