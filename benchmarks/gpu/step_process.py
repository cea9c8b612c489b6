"""A step in a separate process: `python -m benchmarks.gpu.step_process STEP FOLDER DEVICE FILE`.

The process appends its rows to the file as it finds them. So the file keeps the rows of a step that crashes, hangs, or
is killed. The next step begins with a CUDA context that no error has spoiled.
"""

import importlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.gpu.rows import FAILED, Row, from_line, one_line, rows_or_failure, to_line

_ROOT = Path(__file__).parents[2]

STEPS: Mapping[str, tuple[str, str]] = {
    "publish": ("benchmarks.gpu.proving", "publish_models"),
    "nodes": ("benchmarks.gpu.proving", "list_nodes"),
    "golden": ("benchmarks.gpu.proving", "replay_golden"),
    "proof": ("benchmarks.gpu.proving", "prove_models"),
    "serving": ("benchmarks.gpu.serving", "serve_models"),
    "growth": ("benchmarks.gpu.growth", "measure_growth"),
}
"""The steps in their order: the module and the function, which yields rows for a folder and a device."""


def run_step(step: str, work: Path, device: str, seconds: float) -> list[Row]:
    """Run a step to its end, or until its time is over.

    Args:
        step: One of `STEPS`.
        work: The folder that all steps work in.
        device: "cuda", or "cpu" to rehearse.
        seconds: Time limit of the step in seconds.

    Returns:
        The rows of the step. If the step failed or ran out of time, a last row reports that.
    """
    file = work / f"{step}.jsonl"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.step_process", step, str(work), device, str(file)]
    reason = ""
    try:
        status = subprocess.run(command, cwd=_ROOT, check=False, timeout=seconds).returncode  # noqa: S603 - our own
        if status < 0:
            reason = f"the process was ended by {signal.Signals(-status).name}"
        elif status > 0:
            reason = f"the process ended with status {status}; its output says why"
    except subprocess.TimeoutExpired:
        reason = f"it took longer than {seconds:g} s (--timeout)"
    rows = [from_line(line) for line in file.read_text().splitlines()] if file.is_file() else []
    if not rows and not reason:
        reason = "it found nothing"
    return [*rows, Row(step, "all", "ran to its end", FAILED, note=reason)] if reason else rows


def main(step: str, work: Path, device: str, file: Path) -> None:
    """Run a step in this process and append its rows to the file."""
    module, function = STEPS[step]

    def find() -> Iterator[Row]:
        if device == "cuda":
            _load_cuda()
        rows: Callable[[Path, str], Iterator[Row]] = getattr(importlib.import_module(module), function)
        return rows(work, device)

    with file.open("a") as stream:
        for row in rows_or_failure(step, "all", find):
            print(to_line(row), file=stream, flush=True)
            print(f"{step}: {row.subject}: {row.what}: {row.verdict} {one_line(row.note)}", file=sys.stderr, flush=True)


def _load_cuda() -> None:
    """Load CUDA's libraries before the first session, because no search path contains them.

    Raises:
        RuntimeError: If CUDA does not work any more.
    """
    from rnnserve.server.repository.providers import find_cuda_fault

    fault = find_cuda_fault()
    if fault is not None:
        raise RuntimeError(f"CUDA does not work in this process: {fault}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
