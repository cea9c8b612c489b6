"""The model's limits: the batches of a scenario in a loop of `session.run` and in eager PyTorch, without a server.

`measure_model` runs the loop in a separate process, `python -m benchmarks.model_loop BATCHES SECONDS WAY…`. A way is
`graphs MODEL.ONNX…` or `eager CELL HIDDEN`. The process prints a line of JSON, {"rows/s": …, "p50 ms": …, "p99 ms": …}.
The times are for one batch.

One thread runs, as in all measured servers. Padding happens before the measurement. If the rows of a batch differ in
length, several inference calls of similar lengths may be faster. One graph may be faster than the other. So the process
tries all ways first and measures the fastest.
"""

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.errors import ModelLoopFailed
from benchmarks.metrics import Metrics, percentile
from benchmarks.peers.walk_model import WalkModel
from benchmarks.requests import LOGIT_LIMIT, BenchmarkRequest
from rnnserve.protos.artifact import MODEL, SCAN

_ROOT = Path(__file__).parents[1]
_START_S = 60.0
"""Time limit in addition to the measured time: the process loads torch and tries every way to run a batch."""

_PARTS = (1, 2, 4, 8)
_TRIALS = 3

Run = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""From input (batch, sequence, features) and lengths (batch,) to logits (batch, classes)."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of one inference call.

    Attributes:
        input: Points, (batch, sequence, features) float32, zeros after each row's length.
        lengths: (batch,) int64.
        logits: The expected logits, (batch, classes) float32.
    """

    input: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]


def graphs_of(version: Path) -> list[str]:
    """Describe `session.run` with the faster graph of a version, `<repository>/<model>/<version>`."""
    return ["graphs", *(str(version / name) for name in (MODEL, SCAN) if (version / name).is_file())]


def write_batches(path: Path, batches: Sequence[Sequence[BenchmarkRequest]]) -> Path:
    """Write batches of requests (with one row or more) padded: `input`, `lengths`, `logits` by number."""
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


def measure_model(way: Sequence[str], batches: Path, seconds: float) -> Metrics:
    """Run batches of `write_batches` for some time, by `graphs_of` or by ("eager", cell, hidden).

    Raises:
        ModelLoopFailed: If the loop fails, takes too long, or computes a wrong output.
    """
    command = [sys.executable, "-m", "benchmarks.model_loop", str(batches), str(seconds), *way]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=seconds + _START_S
        )
    except subprocess.TimeoutExpired as error:
        raise ModelLoopFailed(f"the bare loop of a model took longer than {error.timeout:g} s") from error
    if done.returncode != 0:
        raise ModelLoopFailed(
            f"the bare loop of a model failed: {(done.stderr.strip().splitlines() or ['it printed nothing'])[-1]}"
        )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main(batches: str, seconds: str, kind: str, *way: str) -> None:
    """Run one measurement and print its figures."""
    runs = [_eager(way[0], int(way[1]))] if kind == "eager" else [WalkModel(graph).run for graph in way]
    print(json.dumps(measure(runs, _read_batches(batches), float(seconds))))


def measure(runs: Sequence[Run], batches: Sequence[Batch], seconds: float) -> dict[str, float]:
    """Check the outputs, find the fastest way to run the batches, and run the batches in turn for some time.

    Returns "rows/s", and "p50 ms" and "p99 ms" of a batch. Raises ModelLoopFailed if an output is wrong.
    """
    ways = [
        (run, [split(batch, parts) for batch in batches])
        for run in runs
        for parts in _PARTS
        if parts == 1 or len(batches[0].lengths) >= 2 * parts
    ]
    for run, cut in ways:
        worst = float(np.max([_difference(run, part) for parts in cut for part in parts]))  # NaN if a difference is
        if not worst <= LOGIT_LIMIT:  # written with `not`, so that NaN is refused as well
            raise ModelLoopFailed(f"logits differ by {worst:.2g} from the expected ones")
    run, cut = min(ways, key=lambda way: min(_duration(way[0], way[1][0]) for _ in range(_TRIALS)))
    durations: list[float] = []
    rows, began = 0, time.perf_counter()
    for parts in itertools.cycle(cut):
        durations.append(_duration(run, parts))
        rows += sum(len(part.lengths) for part in parts)
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            break
    return {
        "rows/s": rows / elapsed,
        "p50 ms": 1e3 * percentile(durations, 0.5),
        "p99 ms": 1e3 * percentile(durations, 0.99),
    }


def split(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch into parts of similar lengths, each as long as its longest row."""
    cut = []
    for rows in np.array_split(np.argsort(batch.lengths, kind="stable"), parts):
        lengths = batch.lengths[rows]
        input = np.ascontiguousarray(batch.input[rows, : lengths.max()])  # (rows, sequence, features)
        cut.append(Batch(input, lengths, batch.logits[rows]))
    return cut


def _duration(run: Run, parts: Sequence[Batch]) -> float:
    began = time.perf_counter()
    for part in parts:
        run(part.input, part.lengths)
    return time.perf_counter() - began


def _difference(run: Run, part: Batch) -> float:
    return float(np.abs(run(part.input, part.lengths) - part.logits).max())


def _read_batches(path: str) -> list[Batch]:
    with np.load(path) as arrays:
        return [
            Batch(arrays[f"{at}/input"], arrays[f"{at}/lengths"], arrays[f"{at}/logits"])
            for at in range(len(arrays.files) // 3)
        ]


def _eager(cell: str, hidden: int) -> Run:
    import torch  # here, because a loop of session.run doesn't need torch

    from benchmarks.make_models import make_classifier

    torch.set_num_threads(1)
    classifier: Any = make_classifier(cell, hidden)

    def run(input: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = classifier(torch.from_numpy(input), torch.from_numpy(lengths))[0].numpy()
        return logits

    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
