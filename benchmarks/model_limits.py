"""The model's own limits: the same batches by a loop of `session.run` and by eager PyTorch, without any server.

`benchmarks.peers.model_loop` is the program that runs them; a `ModelLoop` starts it and asks it for measurements.
"""

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.errors import ModelLoopFailed
from benchmarks.metrics import Metrics
from benchmarks.requests import BenchmarkRequest
from rnnserve.protos.artifact import MODEL, SCAN

__all__ = ["ModelLoop", "eager_of", "graphs_of", "running_model_loop", "write_batches"]

_ROOT = Path(__file__).parents[1]
_START_S = 60.0
"""How long it may take beyond the measured time: torch is loaded, and every way to run a batch is tried."""


class ModelLoop:
    """A running `benchmarks.peers.model_loop`."""

    def __init__(self, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("wb") as errors:
            self._process: subprocess.Popen[str] = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.model_loop"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=_ROOT,
                text=True,
            )

    def measure(self, what: dict[str, Any], batches: Path, seconds: float) -> Metrics:
        """Run batches for some time.

        Args:
            what: The model, from `graphs_of` or `eager_of`.
            batches: The file of `write_batches`.
            seconds: Duration of the measurement.

        Returns:
            "rows/s", and "p50 ms" and "p99 ms" of a batch.

        Raises:
            ModelLoopFailed: If the program ends, does not answer, or finds a wrong answer.
        """
        into, out = _pipes(self._process)
        with contextlib.suppress(BrokenPipeError):  # it has ended, and the empty answer says so
            into.write(json.dumps({**what, "batches": str(batches), "seconds": seconds}) + "\n")
            into.flush()
        readable, _, _ = select.select([out], [], [], seconds + _START_S)
        line = out.readline() if readable else ""
        if not line:
            last = (self._log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
            raise ModelLoopFailed(f"the loop of a model did not answer: {last} (log: {self._log})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ModelLoopFailed(f"the loop of a model: {answer['error']}")
        return answer

    def end(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.wait()
        for pipe in _pipes(self._process):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextlib.contextmanager
def running_model_loop(log: Path) -> Iterator[ModelLoop]:
    """Start a loop, and end it after the block."""
    loop = ModelLoop(log)
    try:
        yield loop
    finally:
        loop.end()


def graphs_of(version: Path) -> dict[str, Any]:
    """Describe `session.run` with the faster graph of a version, `<repository>/<model>/<version>`."""
    return {"graphs": [str(version / name) for name in (MODEL, SCAN) if (version / name).is_file()]}


def eager_of(cell: str, hidden: int) -> dict[str, Any]:
    """Describe eager PyTorch with a model of `scenarios.MODELS`, by cell and hidden size."""
    return {"eager": [cell, hidden]}


def write_batches(path: Path, batches: Sequence[Sequence[BenchmarkRequest]]) -> Path:
    """Write batches of requests, padded: of each its `input`, `lengths` and `logits`, by its number.

    Args:
        path: The .npz file.
        batches: The requests of each batch, which may have several rows each.
    """
    arrays: dict[str, Any] = {}
    for number, requests in enumerate(batches):
        lengths = np.concatenate([np.full(len(r.input), r.input.shape[1], np.int64) for r in requests])  # (batch,)
        input = np.zeros((len(lengths), lengths.max(), requests[0].input.shape[2]), np.float32)  # padded
        start = 0
        for request in requests:
            rows, steps = request.input.shape[:2]
            input[start : start + rows, :steps] = request.input
            start += rows
        logits = np.concatenate([request.logits for request in requests])  # (batch, classes)
        arrays |= {f"{number}/input": input, f"{number}/lengths": lengths, f"{number}/logits": logits}
    np.savez(path, **arrays)
    return path


def _pipes(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    """Return standard input and output of a process that was started with pipes."""
    if process.stdin is None or process.stdout is None:
        raise ModelLoopFailed("the loop of a model was started without pipes")
    return process.stdin, process.stdout
