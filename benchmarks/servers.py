"""Commands that start each measured server on a model."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import environments, server_names
from benchmarks.peers import triton
from benchmarks.requests import BenchmarkRequest
from benchmarks.server_processes import ServerProcess, free_port, running_server
from benchmarks.source_trees import SourceTree
from rnnserve.protos import inference_pb2 as pb

__all__ = [
    "CONSOLE_SCRIPT",
    "READY_PATTERN",
    "StartServer",
    "folder_of_server",
    "running_rnnserve",
    "start_server",
    "start_server_from_tree",
]

CONSOLE_SCRIPT = str(Path(sys.executable).with_name("rnnserve"))

READY_PATTERN = r"gRPC on 127\.0\.0\.1:(\d+)"
"""Output of a server that listens; the group is its port."""

StartServer = Callable[[str, Path, str, Path, BenchmarkRequest], AbstractContextManager[ServerProcess]]
"""A function with the arguments of `start_server`."""

_RNNSERVE_OPTIONS = {
    server_names.FAST_PATH: ("--no-http",),
    server_names.NATIVE: ("--transport", "native", "--no-http"),
    server_names.PLAIN: ("--plain", "--no-http"),
    server_names.TWO_WORKERS: ("--workers", "2", "--no-http"),
    server_names.BESIDE_HTTP: ("--http-port", "0"),
}
_PLAIN_KINDS = {server_names.GRPC_AIO: "aio", server_names.GRPC_SERVER: "threads"}


def start_server(
    server: str, repository: Path, model: str, work: Path, request: BenchmarkRequest
) -> AbstractContextManager[ServerProcess]:
    """Start a server, which ends with the returned context.

    Args:
        server: Name of the server, one of `server_names.ALL_SERVERS`.
        repository: Repository with the model, from `rnnserve export`; every server runs its model.onnx.
        model: Name of the model.
        work: Folder for logs and other files of the server.
        request: The request whose answer `server_names.CONSTANT` returns.

    Raises:
        ServerFailed: If the server does not become ready.
        MissingDependency: If the server cannot be installed.
    """
    folder = folder_of_server(work, server, model)
    log = folder.with_suffix(".log")
    onnx = repository / model / "1" / "model.onnx"
    if server in _RNNSERVE_OPTIONS:
        command = [
            CONSOLE_SCRIPT,
            "serve",
            str(repository),
            "--grpc-port",
            "0",
            *_RNNSERVE_OPTIONS[server],
        ]
        return running_rnnserve(server, command, log)
    if server in _PLAIN_KINDS:
        command = [sys.executable, "-m", "benchmarks.peers.plain", _PLAIN_KINDS[server], model, str(onnx)]
        return running_server(server, command, READY_PATTERN, log)
    if server == server_names.CONSTANT:
        response = folder / "response"
        response.write_bytes(_encode_response(model, request))
        return running_server(
            server, [sys.executable, "-m", "benchmarks.peers.constant", str(response)], READY_PATTERN, log
        )
    environments.TRITON.ensure()
    ready = triton.prepare_triton(
        environments.TRITON,
        folder,
        model,
        onnx,
        free_port(),
        ragged=server == server_names.TRITON_RAGGED,
        sequences=server == server_names.TRITON_SEQUENCES,
    )
    return running_server(server, ready.command, triton.READY_PATTERN, log, ready.environment, folder=ready.folder)


def start_server_from_tree(
    server: str, tree: SourceTree, repository: Path, model: str, work: Path
) -> AbstractContextManager[ServerProcess]:
    """Start the server of a source tree with the fast path; it ends with the returned context.

    Args:
        server: Name of the server, for messages and the name of its log.
        tree: The tree whose code runs.
        repository: Repository with the model, from `rnnserve export`.
        model: Name of the model.
        work: Folder for logs.

    Raises:
        ServerFailed: If the server does not become ready, or other code than the tree's would run.
    """
    command = tree.command(["serve", str(repository), "--grpc-port", "0"])
    log = folder_of_server(work, server, model).with_suffix(".log")
    return running_rnnserve(server, command, log, tree.environment)


@contextlib.contextmanager
def running_rnnserve(
    name: str,
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> Iterator[ServerProcess]:
    """Start a server of this project, wait until its models are loaded, and end it after the block.

    The arguments and errors are those of `ServerProcess`.
    """
    with running_server(name, command, READY_PATTERN, log, environment, timeout_s) as process:
        process.wait_for_models()
        yield process


def folder_of_server(work: Path, server: str, model: str) -> Path:
    """Make a folder for the files of a server; its log has the same name."""
    folder = work / f"{re.sub(r'[^a-z0-9]+', '_', server.lower()).strip('_')}-{model}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _encode_response(model: str, request: BenchmarkRequest) -> bytes:
    logits = request.logits.astype("<f4")
    response = pb.ModelInferResponse(model_name=model, model_version="1", raw_output_contents=[logits.tobytes()])
    response.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
    return response.SerializeToString()
