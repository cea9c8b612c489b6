"""perf_analyzer: Triton's load generator. It measures latency from the actual sending time, not the planned time."""

import contextlib
import csv
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.environments import PERF_ANALYZER
from benchmarks.errors import LoadGeneratorFailed, Saturated
from benchmarks.scenarios import LoadSettings

_SATURATED = ("No valid requests recorded within time interval", "had error: CANCELLED")
"""Its messages if requests come faster than responses. Either no request begins and ends within a window, or
perf_analyzer cancels the many requests that are still in flight at the end."""

_LOOK_SECONDS = 0.5
"""Seconds between two checks whether perf_analyzer or the server has ended."""

_WINDOWS = 3
"""It measures in three or more windows. Its test of stability is off because rounds and medians replace it."""


def run_perf_analyzer(
    load: LoadSettings, seconds: float, port: int, model: str, data: str, work: Path, check_server: Callable[[], None]
) -> dict[str, float]:
    """Send requests for some time and measure.

    Args:
        load: The request rate, or the number of requests in flight.
        seconds: Duration of the measurement.
        port: Port of the server on 127.0.0.1.
        model: Name of the model.
        data: The requests, from `requests.perf_analyzer_input`.
        work: A folder for perf_analyzer's files.
        check_server: A function that raises an error if the server has ended. Otherwise perf_analyzer would wait for
            the server.

    Returns:
        "inferences/s", "p50 ms" and "p99 ms".

    Raises:
        LoadGeneratorFailed: If perf_analyzer fails, or requests do.
        Saturated: If the server responds so much slower than the rate that there are no figures.
        MissingDependency: If perf_analyzer cannot be installed.
    """
    PERF_ANALYZER.ensure()
    input_file, report = work / "perf_analyzer.json", work / "perf_analyzer.csv"
    input_file.write_text(data)
    report.unlink(missing_ok=True)
    if load.rate:
        load_options = [f"--request-rate-range={load.rate}", "--request-distribution=poisson"]
    else:
        load_options = [f"--concurrency-range={load.in_flight}"]
    if load.steps:
        load_options.append("--streaming")
    command = [
        str(PERF_ANALYZER.folder / "bin" / "perf_analyzer"),
        *("-m", model, "-u", f"127.0.0.1:{port}", "-i", "grpc", "--async"),
        *load_options,
        f"--input-data={input_file}",
        f"--measurement-interval={round(seconds / _WINDOWS * 1000)}",
        "--stability-percentage=999",
        f"--max-trials={_WINDOWS}",
        *("-f", str(report)),
    ]
    timeout_s = seconds + 60
    try:
        status, said = _run(command, timeout_s, check_server)
    except TimeoutError as error:
        if load.rate:
            raise Saturated(
                f"the server completes fewer than {load.rate:,} requests per second; after {timeout_s:g} s, some are "
                "still pending"
            ) from error
        raise LoadGeneratorFailed(f"perf_analyzer did not end within {timeout_s:g} s") from error
    output = " ".join(said.split())
    if load.rate and not report.is_file() and any(word in output for word in _SATURATED):
        raise Saturated(
            f"the server completes fewer than {load.rate:,} requests per second, so perf_analyzer reports no figures"
        )
    if status != 0 or not report.is_file():
        raise LoadGeneratorFailed(f"perf_analyzer ended with status {status}: {output[-300:]}")
    return parse_report(report.read_text())


def _run(command: Sequence[str], timeout_s: float, check_server: Callable[[], None]) -> tuple[int, str]:
    """Run perf_analyzer and return its exit status and its output.

    The command is a script that starts the program. Both run in a separate session. At the end, the function kills both
    if they are still running.

    Raises:
        TimeoutError: If they have not ended after `timeout_s` seconds.
    """
    ends = time.monotonic() + timeout_s
    with subprocess.Popen(  # noqa: S603 - no shell, our own arguments
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            while True:
                try:
                    said, _ = process.communicate(timeout=_LOOK_SECONDS)
                    break
                except subprocess.TimeoutExpired as error:
                    check_server()
                    if time.monotonic() > ends:
                        raise TimeoutError from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, said


def parse_report(text: str) -> dict[str, float]:
    """Read "inferences/s", "p50 ms" and "p99 ms" from perf_analyzer's CSV report, whose times are in microseconds.

    Raises:
        LoadGeneratorFailed: If the report is not one row, or lacks a column.
    """
    rows = list(csv.DictReader(text.splitlines()))
    if len(rows) != 1:
        raise LoadGeneratorFailed(f"perf_analyzer reports {len(rows)} measurements, expected one")
    try:
        return {
            "inferences/s": float(rows[0]["Inferences/Second"]),
            "p50 ms": float(rows[0]["p50 latency"]) / 1e3,
            "p99 ms": float(rows[0]["p99 latency"]) / 1e3,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise LoadGeneratorFailed(f"the report of perf_analyzer lacks {error}: {text.strip()[:300]}") from error
