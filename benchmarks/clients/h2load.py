"""h2load: an HTTP/2 load generator in C++ that knows nothing of gRPC.

It takes every answer with HTTP status 200 for a success, and an error of gRPC has that status, too. An error carries no
message, so the bytes received tell.
"""

import re
import subprocess
from pathlib import Path

from benchmarks.checking import METHOD
from benchmarks.environments import h2load
from benchmarks.errors import ClientFailed
from benchmarks.figures import percentile
from benchmarks.questions import frame
from benchmarks.scenarios import Load

__all__ = ["parse", "parse_log", "run", "send"]

_SPARE = 0.01
"""Of the bytes expected, what may be missing: answers on their way when the time is up."""


def run(load: Load, seconds: float, port: int, message: bytes, response_bytes: int, work: Path) -> dict[str, float]:
    """Load a server for some time.

    Args:
        load: Connections and requests in flight.
        seconds: Of measuring.
        port: The server's.
        message: The request, the same every time.
        response_bytes: The size of the answer to it.
        work: A folder for its files.

    Returns:
        "requests/s", "mean ms", "p50 ms" and "p99 ms".

    Raises:
        ClientFailed: If it fails, or requests do.
    """
    log = work / "h2load.log"
    log.unlink(missing_ok=True)
    timing = [
        f"--duration={round(seconds * 1000)}ms",
        f"--warm-up-time={round(load.warm_up * 1000)}ms",
        f"--log-file={log}",
    ]
    streams = load.in_flight // load.connections
    text = _run(timing, load.connections, streams, port, message, work, load.warm_up + seconds + 30)
    figures = parse(text, response_bytes)
    durations = parse_log(log.read_text())
    log.unlink()
    if not durations:
        raise ClientFailed("h2load has logged no request")
    return figures | {"p50 ms": percentile(durations, 0.5) / 1e3, "p99 ms": percentile(durations, 0.99) / 1e3}


def send(requests: int, port: int, message: bytes, response_bytes: int, work: Path) -> dict[str, float]:
    """Send some number of requests, 64 in flight on 4 connections.

    Raises:
        ClientFailed: If it fails, or requests do.
    """
    return parse(_run([f"--requests={requests}"], 4, 16, port, message, work, 600), response_bytes)


def _run(
    how_long: list[str], connections: int, streams: int, port: int, message: bytes, work: Path, within: float
) -> str:
    body = work / "request"
    body.write_bytes(frame(message))
    command = [
        h2load(),
        f"http://127.0.0.1:{port}{METHOD}",
        f"--data={body}",
        "--header=content-type: application/grpc",
        "--header=te: trailers",
        f"--clients={connections}",
        f"--max-concurrent-streams={streams}",
        "--threads=1",
        *how_long,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within)  # noqa: S603 - no shell
    except subprocess.TimeoutExpired as error:
        raise ClientFailed(f"h2load did not end within {within:.0f} s") from error
    if done.returncode != 0:
        raise ClientFailed(f"h2load ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def parse(text: str, response_bytes: int) -> dict[str, float]:
    """Read "requests/s", "requests" and "mean ms" out of what it printed.

    Raises:
        ClientFailed: If requests failed, or what came back is not what the server answers.
    """
    rate = re.search(r"^finished in .*?, ([\d.]+) req/s", text, re.MULTILINE)
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    data = re.search(r"^traffic: .*?\((\d+)\) data$", text, re.MULTILINE)
    times = re.search(r"^time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) ", text, re.MULTILINE)
    if not (rate and counts and data and times):
        raise ClientFailed(f"h2load printed something else than it should: {text.strip()[-300:]}")
    done, succeeded, failed, errored, late = (int(count) for count in counts.groups())
    if not done or succeeded < done or failed or errored or late:
        raise ClientFailed(f"h2load: of {done} requests {succeeded} succeeded")
    expected = succeeded * (response_bytes + len(frame(b"")))
    if int(data[1]) < expected * (1 - _SPARE):
        raise ClientFailed(f"h2load: {succeeded} answers hold {data[1]} bytes, expected {expected}: some are errors")
    milliseconds = {"us": 1e-3, "ms": 1.0, "s": 1e3}[times[2]]
    return {"requests/s": float(rate[1]), "requests": float(succeeded), "mean ms": float(times[1]) * milliseconds}


def parse_log(text: str) -> list[float]:
    """Read the microseconds that each request took out of a log: a line is start, HTTP status, duration."""
    return [float(line.split("\t")[2]) for line in text.splitlines()]
