"""The start of each measured server with a model, over gRPC and over HTTP. Each peer has a separate environment."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import environments, server_names
from benchmarks.environments import Environment
from benchmarks.peers import triton
from benchmarks.requests import BenchmarkRequest
from benchmarks.scenarios import Scenario
from benchmarks.server_processes import ServerProcess, free_port, running_server
from benchmarks.source_trees import SourceTree
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.access.access_file import add_token

_ROOT = Path(__file__).parents[1]

CONSOLE_SCRIPT = str(Path(sys.executable).with_name("rnnserve"))

READY_PATTERN = r"gRPC on 127\.0\.0\.1:(\d+)"
"""Output of a listening server. The group is its port."""

HTTP_READY_PATTERN = r"HTTP on 127\.0\.0\.1:(\d+)"
_PEER_READY_PATTERN = r"127\.0\.0\.1:(\d+)"

ENVIRONMENTS: dict[str, Environment] = {
    **dict.fromkeys(
        (server_names.TRITON, server_names.TRITON_RAGGED, server_names.TRITON_SEQUENCES, server_names.TRITON_HTTP),
        environments.TRITON,
    ),
    server_names.MOSEC: environments.MOSEC,
    server_names.LITSERVE: environments.LITSERVE,
    server_names.MLSERVER: environments.MLSERVER,
}
"""The environment of each peer, by its name."""

_WITH_HTTP = ("--http-port", "0")
_RNNSERVE_OPTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((server_names.FAST_PATH, server_names.WITH_TOKENS, server_names.UNASKED_TOKENS), ("--no-http",)),
    server_names.NATIVE: ("--transport", "native", "--no-http"),
    server_names.PLAIN: ("--plain", "--no-http"),
    server_names.TWO_WORKERS: ("--workers", "2", "--no-http"),
    **dict.fromkeys((server_names.BESIDE_HTTP, server_names.ALONE, server_names.BESIDE_JSON), _WITH_HTTP),
    server_names.HTTP: _WITH_HTTP,
    server_names.HTTP_TWO: (*_WITH_HTTP, "--workers", "2"),
}
_PLAIN_KINDS = {server_names.GRPC_AIO: "aio", server_names.GRPC_SERVER: "threads"}


def start_server(
    server: str, scenario: Scenario, repository: Path, work: Path, requests: Sequence[BenchmarkRequest]
) -> AbstractContextManager[ServerProcess]:
    """Start a server that ends with the returned context. Over HTTP, it may need a moment until it responds.

    Args:
        server: Name of the server, one of `server_names.ALL_SERVERS`.
        scenario: The scenario. It names the model and the form of HTTP requests.
        repository: Repository with the model, from `rnnserve export`. Every server runs its model.onnx.
        work: Folder for logs and other files of the server.
        requests: The requests of the scenario. `server_names.CONSTANT` returns the response to the first.

    Raises:
        ServerFailed: If the server does not become ready.
        MissingDependency: If the server cannot be installed.
    """
    model = scenario.model
    folder = folder_of_server(work, server, f"{scenario.name}-{model}")
    log = folder.with_suffix(".log")
    onnx = (repository / model / "1" / "model.onnx").absolute()
    if server in _RNNSERVE_OPTIONS:
        options = _RNNSERVE_OPTIONS[server]
        if server == server_names.WITH_TOKENS:
            options = (*options, "--tokens", str(folder / "tokens.toml"))
        command = [CONSOLE_SCRIPT, "serve", str(repository), "--grpc-port", "0", *options]
        if server in (server_names.HTTP, server_names.HTTP_TWO):
            return running_server(server, command, HTTP_READY_PATTERN, log)
        return running_rnnserve(server, command, log)
    if server in _PLAIN_KINDS:
        command = [sys.executable, "-m", "benchmarks.peers.plain", _PLAIN_KINDS[server], model, str(onnx)]
        return running_server(server, command, READY_PATTERN, log)
    if server == server_names.CONSTANT:
        return start_constant(folder, model, requests[0])
    environment = ENVIRONMENTS[server]
    environment.ensure()
    if environment is environments.TRITON:
        return _start_triton(server, model, onnx, folder)
    return _start_http_peer(server, environment, scenario, onnx, folder)


def start_constant(folder: Path, model: str, request: BenchmarkRequest) -> AbstractContextManager[ServerProcess]:
    """Start the fast path that responds to every request with the response to this request."""
    logits = request.logits.astype("<f4")
    answer = pb.ModelInferResponse(model_name=model, model_version="1", raw_output_contents=[logits.tobytes()])
    answer.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
    response = folder / "response"
    response.write_bytes(answer.SerializeToString())
    command = [sys.executable, "-m", "benchmarks.peers.constant", str(response)]
    return running_server(server_names.CONSTANT, command, READY_PATTERN, folder.with_suffix(".log"))


def new_token(scenario: Scenario, work: Path) -> str:
    """Write the file of tokens for `server_names.WITH_TOKENS` and return the token in it."""
    tokens = folder_of_server(work, server_names.WITH_TOKENS, f"{scenario.name}-{scenario.model}") / "tokens.toml"
    tokens.unlink(missing_ok=True)
    return add_token(tokens, "benchmark", "infer")


def start_server_from_tree(
    server: str, tree: SourceTree, repository: Path, model: str, work: Path
) -> AbstractContextManager[ServerProcess]:
    """Start the server of a source tree with the fast path. `server` is its name in messages and logs."""
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

    The arguments and errors are the same as for `ServerProcess`.
    """
    with running_server(name, command, READY_PATTERN, log, environment, timeout_s) as process:
        process.wait_for_models()
        yield process


def folder_of_server(work: Path, server: str, model: str) -> Path:
    """Make a folder for the files of a server. Its log has the same name."""
    folder = work / f"{re.sub(r'[^a-z0-9]+', '_', server.lower()).strip('_')}-{model}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _start_triton(server: str, model: str, onnx: Path, folder: Path) -> AbstractContextManager[ServerProcess]:
    is_http = server == server_names.TRITON_HTTP
    ready = triton.prepare_triton(
        environments.TRITON,
        folder,
        model,
        onnx,
        free_port(),
        ragged=server == server_names.TRITON_RAGGED,
        sequences=server == server_names.TRITON_SEQUENCES,
        http_port=free_port() if is_http else None,
    )
    pattern = triton.HTTP_READY_PATTERN if is_http else triton.READY_PATTERN
    log = folder.with_suffix(".log")
    return running_server(server, ready.command, pattern, log, ready.environment, folder=ready.folder)


def _start_http_peer(
    server: str, environment: Environment, scenario: Scenario, onnx: Path, folder: Path
) -> AbstractContextManager[ServerProcess]:
    python, port = str(environment.python), str(free_port())
    if server == server_names.MOSEC:
        command = [python, "-m", "benchmarks.peers.mosec_server", "--port", port, "--address", "127.0.0.1"]
    elif server == server_names.LITSERVE:
        command = [python, "-m", "benchmarks.peers.litserve_server", port]
    else:
        _write_mlserver_settings(folder, scenario.model, onnx, int(port))
        command = [str(environment.python.with_name("mlserver")), "start", str(folder)]
    variables = {"BENCH_MODEL": str(onnx), "BENCH_FORM": scenario.load.generator, "PYTHONPATH": str(_ROOT)}
    return running_server(server, command, _PEER_READY_PATTERN, folder.with_suffix(".log"), variables)


def _write_mlserver_settings(folder: Path, model: str, onnx: Path, port: int) -> None:
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,  # inside the server's process: here twice as fast as a separate worker
        "debug": False,
    }
    of_model = {
        "name": model,
        "implementation": "benchmarks.peers.mlserver_runtime.WalkRuntime",
        "max_batch_size": 32,
        "max_batch_time": 0.001,
        "parameters": {"uri": str(onnx)},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(of_model))
