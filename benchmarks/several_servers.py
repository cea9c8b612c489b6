"""`python -m benchmarks.several_servers REPOSITORY`: what clients meet while servers of several end and come.

Three servers of the repository; threads ask one of its models all the while, each waiting for its answer. One server is
killed, one drained (SIGTERM), and the killed one started again at its port. Of each time: requests a second, those that
failed, the longest that one took, and after how many seconds the server that came back had its share.

By our own client with the three addresses, and with --envoy through Envoy (deploy/envoy/), by a client that sends
nothing again.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np

from benchmarks.answer_check import INFER_METHOD
from benchmarks.requests import BenchmarkRequest, encode_request
from benchmarks.server_processes import ServerProcess, free_port
from benchmarks.servers import CONSOLE_SCRIPT
from rnnserve.client import Client
from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["main"]

_THREADS = 8
_TIMEOUT_S = 10.0
_CONFIGURATION = Path(__file__).parents[1] / "deploy/envoy/envoy.yaml"
_LOOK_S = 0.1
_SHARE = 0.8
"""The part of an even share from which on a server has its own."""


class _Asking:
    """Threads that ask; the seconds of each answer with when it came, and what failed."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self.took: list[tuple[float, float]] = []
        self.failed: list[Exception] = []
        self._ask = ask
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._go, daemon=True) for _ in range(_THREADS)]

    def __enter__(self) -> "_Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)

    def _go(self) -> None:
        while not self._is_over.is_set():
            began = time.perf_counter()
            try:
                self._ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.failed.append(error)
            else:
                now = time.perf_counter()
                self.took.append((now, now - began))


def _start(repository: Path, folder: Path, port: int = 0) -> ServerProcess:
    command = [str(CONSOLE_SCRIPT), "serve", str(repository), "--grpc-port", str(port), "--no-http"]
    log = folder / f"server-{len(list(folder.iterdir()))}.log"
    return ServerProcess("rnnserve", command, r"gRPC on 127\.0\.0\.1:(\d+)", log)


def _signal(server: ServerProcess, number: signal.Signals) -> None:
    os.kill(server.pids[0], number)


def _answered(port: int, model: str) -> int:
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        said = GRPCInferenceServiceStub(channel).ModelStatistics(
            pb.ModelStatisticsRequest(name=model), timeout=_TIMEOUT_S
        )
    return sum(each.inference_count for each in said.model_stats)


@contextlib.contextmanager
def _envoy(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """Run Envoy before servers; gives its address."""
    listening, text = free_port(), _CONFIGURATION.read_text()
    for number, port in enumerate(ports, 1):
        text = text.replace(f"address: server-{number}, port_value: 8001", f"address: 127.0.0.1, port_value: {port}")
    text = text.replace("address: 0.0.0.0, port_value: 8001", f"address: 127.0.0.1, port_value: {listening}")
    (folder / "envoy.yaml").write_text(text.replace("port_value: 9901", "port_value: 0"))
    command = [
        str(Path(CONSOLE_SCRIPT).with_name("envoy")),
        "--config-path",
        str(folder / "envoy.yaml"),
        "--use-dynamic-base-id",
    ]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - no shell, our own arguments
    try:
        with grpc.insecure_channel(f"127.0.0.1:{listening}") as channel:
            grpc.channel_ready_future(channel).result(_TIMEOUT_S)
        yield f"127.0.0.1:{listening}"
    finally:
        process.terminate()
        process.wait(_TIMEOUT_S)


def _measure(repository: Path, model: str, seconds: float, *, by_envoy: bool) -> list[list[str]]:
    """Kill, drain and bring back; gives the rows of the table."""
    walk = np.random.default_rng(0).uniform(-1, 1, (1, 16, 2)).astype(np.float32)  # (batch, sequence, features)
    message = encode_request(model, BenchmarkRequest(walk, np.zeros((1, 2), np.float32)))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers: list[ServerProcess] = []

        def start(port: int = 0) -> None:
            servers.append(_start(repository, folder, port))
            stack.callback(servers[-1].end)

        for _ in range(3):
            start()
        ports = [server.port for server in servers]
        if by_envoy:
            address = stack.enter_context(_envoy(folder, ports))
            channel = stack.enter_context(grpc.insecure_channel(address))
            infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
            asking = _Asking(lambda: infer(message, timeout=_TIMEOUT_S))
        else:
            client = stack.enter_context(Client([f"127.0.0.1:{port}" for port in ports], timeout=_TIMEOUT_S))
            asking = _Asking(lambda: client.infer(model, {"input": walk}))
        rows: list[list[str]] = []

        def row(name: str, do: Callable[[], object]) -> None:
            began, failed = time.perf_counter(), len(asking.failed)
            share = do()
            time.sleep(max(0.0, began + seconds - time.perf_counter()))
            took = [each for came, each in list(asking.took) if came > began]
            rate = len(took) / (time.perf_counter() - began)
            spread = f"{share:.1f} s" if isinstance(share, float) else ""
            rows.append([name, f"{rate:,.0f}", str(len(asking.failed) - failed), f"{1e3 * max(took):,.0f} ms", spread])

        def bring_back() -> float:
            start(ports[0])
            return _seconds_to_share(ports, model)

        with asking:
            row("three servers", lambda: time.sleep(seconds))
            row("one is killed", lambda: _signal(servers[0], signal.SIGKILL))
            row("one is drained", lambda: _signal(servers[1], signal.SIGTERM))
            row("one comes back", bring_back)
    return rows


def _seconds_to_share(ports: Sequence[int], model: str) -> float:
    """Seconds until the first of the servers answers its share of what it and the last one do."""
    began = time.perf_counter()
    watched = ports[0], ports[-1]
    before = [_answered(port, model) for port in watched]
    while True:
        time.sleep(_LOOK_S)
        now = [_answered(port, model) for port in watched]
        new = [count - earlier for count, earlier in zip(now, before, strict=True)]
        if new[0] >= _SHARE * sum(new) / len(watched) > 0:
            return time.perf_counter() - began
        before = now


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.several_servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repository", type=Path, metavar="REPOSITORY", help="folder of `make export`")
    parser.add_argument("--model", default="direction_simple", help="model that is asked (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of each time (default: %(default)s)")
    parser.add_argument("--envoy", action="store_true", help="through Envoy, by a client that sends nothing again")
    args = parser.parse_args(argv)
    rows = _measure(args.repository, args.model, args.seconds, by_envoy=args.envoy)
    head = ["", "requests/s", "failed", "longest", "its share after"]
    print(format_aligned_table(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
