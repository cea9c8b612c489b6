"""How the servers that speak HTTP are started, each peer in an environment of its own."""

import json
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import environments, server_names
from benchmarks.environments import Environment
from benchmarks.peers import triton
from benchmarks.server_processes import ServerProcess, free_port, running_server
from benchmarks.servers import CONSOLE_SCRIPT

__all__ = ["ENVIRONMENTS", "start_http_server"]

_ROOT = Path(__file__).parents[1]

ENVIRONMENTS: dict[str, Environment] = {
    server_names.TRITON_HTTP: environments.TRITON,
    server_names.MOSEC: environments.MOSEC,
    server_names.LITSERVE: environments.LITSERVE,
    server_names.MLSERVER: environments.MLSERVER,
    server_names.BENTOML: environments.BENTOML,
}
"""By the peer that needs it."""

_READY = r"HTTP on 127\.0\.0\.1:(\d+)"
_PEER_READY = r"127\.0\.0\.1:(\d+)"
_FRONTS = {server_names.HTTP: "1", server_names.HTTP_TWO: "2"}


def start_http_server(
    server: str, form: str, repository: Path, model: str, folder: Path
) -> AbstractContextManager[ServerProcess]:
    """Start a server, which ends with the returned context; it may need a moment until it answers.

    Args:
        server: Name of the server.
        form: Form of the requests, "json" or "binary".
        repository: Repository with the model, from `rnnserve export`; every server runs its model.onnx.
        model: Name of the model.
        folder: Folder for logs and other files of the server.

    Raises:
        ServerFailed: If the server does not become ready.
        MissingDependency: If the server cannot be installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    onnx = (repository / model / "1" / "model.onnx").absolute()
    if server in _FRONTS:
        command = [CONSOLE_SCRIPT, "serve", str(repository), "--grpc-port", "0", "--http-port", "0"]
        return running_server(server, [*command, "--http-workers", _FRONTS[server]], _READY, log)
    environment = ENVIRONMENTS[server]
    environment.ensure()
    python, port = str(environment.python), str(free_port())
    if server == server_names.TRITON_HTTP:
        ready = triton.prepare_triton(environment, folder, model, onnx, free_port(), http_port=int(port))
        return running_server(
            server, ready.command, triton.HTTP_READY_PATTERN, log, ready.environment, folder=ready.folder
        )
    variables = {"BENCH_MODEL": str(onnx), "BENCH_FORM": form, "PYTHONPATH": str(_ROOT)}
    if server == server_names.MOSEC:
        command = [python, "-m", "benchmarks.peers.mosec_server", "--port", port, "--address", "127.0.0.1"]
    elif server == server_names.LITSERVE:
        command = [python, "-m", "benchmarks.peers.litserve_server", port]
    elif server == server_names.BENTOML:
        service = "benchmarks.peers.bentoml_service:WalkService"
        command = [python, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", port]
    else:
        _write_mlserver_settings(folder, model, onnx, int(port))
        command = [str(environment.python.with_name("mlserver")), "start", str(folder)]
    return running_server(server, command, _PEER_READY, log, variables)


def _write_mlserver_settings(folder: Path, model: str, onnx: Path, port: int) -> None:
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,  # in its own process: twice as fast here as in one beside it
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
