"""`python -m benchmarks.scrape REPOSITORY`: what a scrape takes with many models, and what a request notices of it.

One model of the repository is published again under many names. A client asks one request at a time, all models in
turn; by turns there is a scraper, which asks twenty times a second, and there is none.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np

from benchmarks.answer_check import INFER_METHOD
from benchmarks.growth.make_models import publish_copy
from benchmarks.metrics import percentile
from benchmarks.server_processes import ServerProcess, free_port
from benchmarks.servers import CONSOLE_SCRIPT, running_rnnserve
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.artifact import read_version

__all__ = ["main"]

_START_S = 120.0
_TIMEOUT_S = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each number of workers."""
    parser = argparse.ArgumentParser(description="measure what a scrape takes, and what requests notice of it")
    parser.add_argument("repository", type=Path, nargs="?", default=Path("repository"))
    parser.add_argument("--model", default="direction_simple", help="the model that is published again (%(default)s)")
    parser.add_argument("--models", type=int, default=100, metavar="N", help="how often (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="workers (1 and 2)")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="turns of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn (%(default)g)")
    args = parser.parse_args(argv)
    version = read_version(args.repository / args.model / "1")
    with tempfile.TemporaryDirectory() as folder:
        names = [f"copy_{number}" for number in range(args.models)]
        for name in names:
            publish_copy(version, Path(folder, "models", name))
        for workers in args.workers:
            _measure(Path(folder), names, workers, args)
            shutil.rmtree(Path(folder, "log"), ignore_errors=True)
    return 0


def _measure(folder: Path, names: Sequence[str], workers: int, args: argparse.Namespace) -> None:
    port = free_port()
    options = ["--no-http", f"--metrics-port={port}", f"--workers={workers}", "--grpc-port", "0"]
    command = [CONSOLE_SCRIPT, "serve", str(folder / "models"), *options]
    with running_rnnserve("rnnserve", command, folder / "log" / "log", timeout_s=_START_S) as server:
        server.wait_for_models()
        scrape(port)  # the first one starts what answers
        quiet, scraped, took = list[float](), list[float](), list[float]()
        for turn in range(2 * args.rounds):
            is_over = threading.Event()
            scraper = threading.Thread(target=_scrape_on, args=(port, took, is_over))
            if turn % 2:
                scraper.start()
            (scraped if turn % 2 else quiet).extend(_ask_all(server, names, args.seconds))
            is_over.set()
            if turn % 2:
                scraper.join()
        lines = scrape(port).count(b"\n")
    said = [f"{1e3 * percentile(took, q):.1f}" for q in (0.5, 0.99)]
    ratios = [percentile(scraped, q) / percentile(quiet, q) for q in (0.5, 0.99)]
    print(
        f"{len(names)} models, workers {workers}: a scrape of {lines:,} lines takes {said[0]} ms (p99 {said[1]}), "
        f"{len(took)} scrapes; a request meanwhile p50 {1e3 * percentile(scraped, 0.5):.3f} ms, p99 "
        f"{1e3 * percentile(scraped, 0.99):.3f}: {ratios[0]:.2f} and {ratios[1]:.2f} times that without a scraper",
        flush=True,
    )


def scrape(port: int) -> bytes:
    """Read the metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_TIMEOUT_S) as reply:
        text: bytes = reply.read()
    return text


def _scrape_on(port: int, took: list[float], is_over: threading.Event) -> None:
    while not is_over.wait(0.05):
        began = time.perf_counter()
        scrape(port)
        took.append(time.perf_counter() - began)


def _ask_all(server: ServerProcess, names: Sequence[str], seconds: float) -> list[float]:
    """Ask the models in turn, one request at a time; the seconds that each took."""
    walk = np.zeros((1, 4, 2), np.float32)
    request = pb.ModelInferRequest(raw_input_contents=[walk.tobytes()])
    request.inputs.add(name="input", datatype="FP32", shape=walk.shape)
    messages = []
    for name in names:
        request.model_name = name
        messages.append(request.SerializeToString())
    took = []
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
        for message in messages:
            infer(message, timeout=_TIMEOUT_S)
        until = time.perf_counter() + seconds
        for message in itertools.cycle(messages):
            began = time.perf_counter()
            infer(message, timeout=_TIMEOUT_S)
            took.append(time.perf_counter() - began)
            if began > until:
                return took
    return took


if __name__ == "__main__":
    sys.exit(main())
