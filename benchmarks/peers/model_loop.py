"""The model's own limit, without a server: `python -m benchmarks.peers.model_loop` runs batches in a loop.

It reads a line of JSON for each measurement and answers with a line of JSON:

::

    {"graphs": ["model.onnx", …], "batches": "FILE.npz", "seconds": 1.5}    onnxruntime's session.run
    {"eager": ["gru", 128], "batches": "FILE.npz", "seconds": 1.5}          eager PyTorch, by cell and hidden size
    {"rows/s": …, "p50 ms": …, "p99 ms": …}                                 the times are those of a batch
    {"error": "…"}                                                          an answer differs from the expected one

The file is that of `benchmarks.model_limits.write_batches`. One thread runs, as in all measured servers. Padding is
done before. Where the rows of a batch differ in length, it may be faster as several runs of similar lengths; and one
graph may be faster than the other. So all ways are tried first, and the fastest is measured.
"""

import dataclasses
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from benchmarks.answer_check import LOGIT_LIMIT
from benchmarks.metrics import percentile

__all__ = ["Batch", "main", "measure", "split"]

_PARTS = (1, 2, 4, 8)
_TRIALS = 3

Run = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""From input (batch, sequence, features) and lengths (batch,) to logits (batch, classes)."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows that are run together.

    Attributes:
        input: Points, (batch, sequence, features) float32, zeros after each row's length.
        lengths: (batch,) int64.
        logits: The expected logits, (batch, classes) float32.
    """

    input: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]


def main() -> None:
    """Answer each line of standard input until it ends."""
    for line in sys.stdin:
        wanted = json.loads(line)
        batches = _read_batches(wanted["batches"])
        runs = [_eager(*wanted["eager"])] if "eager" in wanted else [_session(graph) for graph in wanted["graphs"]]
        print(json.dumps(measure(runs, batches, wanted["seconds"])), flush=True)


def measure(runs: Sequence[Run], batches: Sequence[Batch], seconds: float) -> dict[str, float | str]:
    """Check the answers, find the fastest way to run the batches, and run them in turn for some time.

    Returns:
        "rows/s", and "p50 ms" and "p99 ms" of a batch; or "error".
    """
    ways = [
        (run, [split(batch, parts) for batch in batches])
        for run in runs
        for parts in _PARTS
        if parts == 1 or len(batches[0].lengths) >= 2 * parts
    ]
    for run, cut in ways:
        worst = float(np.max([_difference(run, part) for parts in cut for part in parts]))  # NaN where one is
        if not worst <= LOGIT_LIMIT:  # written with `not`, so that NaN is refused too
            return {"error": f"logits differ by {worst:.2g} from the expected ones"}
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


@functools.lru_cache(maxsize=4)
def _session(graph: str) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    states = [(node.name, node.shape[0], node.shape[2]) for node in session.get_inputs() if node.name.endswith("_0")]

    def run(input: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        zeros = {name: np.zeros((layers, len(lengths), hidden), np.float32) for name, layers, hidden in states}
        logits: npt.NDArray[np.float32] = session.run(["logits"], {"input": input, "lengths": lengths, **zeros})[0]
        return logits

    return run


@functools.lru_cache(maxsize=4)
def _eager(cell: str, hidden: int) -> Run:
    import torch  # here, since a loop of session.run needs no torch

    from benchmarks.make_models import make_classifier

    torch.set_num_threads(1)
    classifier: Any = make_classifier(cell, hidden)

    def run(input: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = classifier(torch.from_numpy(input), torch.from_numpy(lengths))[0].numpy()
        return logits

    return run


if __name__ == "__main__":
    main()
