"""perf_analyzer: Triton's own load generator. It measures from the actual send, not from the intended one."""

import csv
import subprocess
from pathlib import Path

from benchmarks.environments import PERF
from benchmarks.errors import ClientFailed, Saturated
from benchmarks.scenarios import Load

__all__ = ["parse", "run"]

_SATURATED = ("No valid requests recorded within time interval", "had error: CANCELLED")
"""What it says instead of figures where requests pile up faster than they are answered: no request begins and ends
within a window, or it ends with so many under way that it cancels them."""

_WINDOWS = 3
"""It measures in windows, three at the least; its own test of stability is left to our rounds and medians."""


def run(load: Load, seconds: float, port: int, model: str, data: str, work: Path) -> dict[str, float]:
    """Load a server for some time.

    Args:
        load: A rate, or requests in flight.
        seconds: Of measuring.
        port: The server's.
        model: What is asked.
        data: What `questions.perf_analyzer_data` gives.
        work: A folder for its files.

    Returns:
        "inferences/s", "p50 ms" and "p99 ms".

    Raises:
        ClientFailed: If it fails, or requests do.
        Saturated: If the server falls so far behind the rate that there are no figures.
        Missing: If it cannot be had here.
    """
    PERF.ensure()
    sent, report = work / "perf_analyzer.json", work / "perf_analyzer.csv"
    sent.write_text(data)
    report.unlink(missing_ok=True)
    if load.rate:
        how = [f"--request-rate-range={load.rate}", "--request-distribution=poisson"]
    else:
        how = [f"--concurrency-range={load.in_flight}"]
    command = [
        str(PERF.folder / "bin" / "perf_analyzer"),
        *("-m", model, "-u", f"127.0.0.1:{port}", "-i", "grpc", "--async"),
        *how,
        f"--input-data={sent}",
        f"--measurement-interval={round(seconds / _WINDOWS * 1000)}",
        "--stability-percentage=999",
        f"--max-trials={_WINDOWS}",
        *("-f", str(report)),
    ]
    within = seconds + 60
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within)  # noqa: S603 - no shell
    except subprocess.TimeoutExpired as error:
        raise ClientFailed(f"perf_analyzer did not end within {within:.0f} s") from error
    said = " ".join((done.stdout + done.stderr).split())
    if load.rate and not report.is_file() and any(word in said for word in _SATURATED):
        raise Saturated(f"it does not keep up with {load.rate:,} a second, and perf_analyzer gave up")
    if done.returncode != 0 or not report.is_file():
        raise ClientFailed(f"perf_analyzer ended with status {done.returncode}: {said[-300:]}")
    return parse(report.read_text())


def parse(text: str) -> dict[str, float]:
    """Read the figures out of its CSV report.

    Raises:
        ClientFailed: If it is not one row with the columns that are needed.
    """
    rows = list(csv.DictReader(text.splitlines()))
    if len(rows) != 1:
        raise ClientFailed(f"perf_analyzer reports {len(rows)} measurements, expected one")
    try:
        return {
            "inferences/s": float(rows[0]["Inferences/Second"]),
            "p50 ms": float(rows[0]["p50 latency"]) / 1e3,
            "p99 ms": float(rows[0]["p99 latency"]) / 1e3,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ClientFailed(f"perf_analyzer's report lacks {error}: {text.strip()[:300]}") from error
