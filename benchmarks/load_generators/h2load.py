"""h2load: a load generator in C++ for HTTP/2 and HTTP/1.1, without support for gRPC.

It counts every response with HTTP status 200 as a success, and errors of gRPC have this status too. An error has no
message, so the number of received bytes shows whether there were errors.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks.environments import find_h2load
from benchmarks.errors import LoadGeneratorFailed
from benchmarks.metrics import percentile
from benchmarks.requests import INFER_METHOD, add_grpc_frame
from benchmarks.scenarios import LoadSettings

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_MISSING_BYTES_LIMIT = 0.01
"""Share of the expected bytes that may be missing: responses under way when the time ends."""


def run_h2load(
    load: LoadSettings,
    seconds: float,
    port: int,
    message: bytes,
    response_bytes: int,
    work: Path,
    host: str = "127.0.0.1",
    headers: Mapping[str, str] = _NO_HEADERS,
) -> dict[str, float]:
    """Send requests for some time and measure.

    Args:
        load: Connections and requests in flight.
        seconds: Duration of the measurement, after the warm-up.
        port: Port of the server.
        message: The encoded request; all requests are equal.
        response_bytes: Size of the response to it.
        work: A folder for h2load's files.
        host: Address of the server.
        headers: Metadata of each call.

    Returns:
        "requests/s", "requests", "mean ms", "p50 ms", "p99 ms" and "max ms".

    Raises:
        LoadGeneratorFailed: If h2load fails, or requests do.
    """
    log = work / "h2load.log"
    log.unlink(missing_ok=True)
    timing = [
        f"--duration={round(seconds * 1000)}ms",
        f"--warm-up-time={round(load.warm_up * 1000)}ms",
        f"--log-file={log}",
    ]
    streams = load.in_flight // load.connections
    timing += [f"--header={name}: {value}" for name, value in headers.items()]
    output = _run(timing, load.connections, streams, f"{host}:{port}", message, work, load.warm_up + seconds + 30)
    return parse_output(output, response_bytes) | _read_times(log)


def run_h2load_over_http(
    load: LoadSettings,
    seconds: float,
    url: str,
    fields: Mapping[str, str],
    body: bytes,
    response_bytes: int,
    work: Path,
) -> dict[str, float]:
    """Send requests over HTTP/1.1, one at a time on each connection; what it returns and raises is as of `run_h2load`.

    Args:
        load: Connections.
        seconds: Duration of the measurement.
        url: Address of what is asked.
        fields: Header fields.
        body: Body of all requests.
        response_bytes: Size of a response's body.
        work: A folder for h2load's files.
    """
    log = work / "h2load.log"
    log.unlink(missing_ok=True)
    file = work / "request"
    file.write_bytes(body)
    options = [
        url,
        "--h1",
        f"--data={file}",
        *(f"--header={name}: {value}" for name, value in fields.items()),
        f"--clients={load.in_flight}",
        f"--duration={round(seconds * 1000)}ms",
        f"--log-file={log}",
    ]
    return parse_output(_run_h2load(options, seconds + 30), response_bytes, over_http=True) | _read_times(log)


def _read_times(log: Path) -> dict[str, float]:
    durations = parse_log(log.read_text())
    log.unlink()
    if not durations:
        raise LoadGeneratorFailed("h2load has logged no request")
    return {
        "p50 ms": percentile(durations, 0.5) / 1e3,
        "p99 ms": percentile(durations, 0.99) / 1e3,
        "max ms": max(durations) / 1e3,
    }


def send_requests(requests: int, port: int, message: bytes, response_bytes: int, work: Path) -> dict[str, float]:
    """Send a number of requests, 64 in flight on 4 connections; the arguments are as in `run_h2load`.

    Raises:
        LoadGeneratorFailed: If h2load fails, or requests do.
    """
    return parse_output(
        _run([f"--requests={requests}"], 4, 16, f"127.0.0.1:{port}", message, work, 600), response_bytes
    )


def _run(
    duration_options: list[str],
    connections: int,
    streams: int,
    address: str,
    message: bytes,
    work: Path,
    timeout_s: float,
) -> str:
    body = work / "request"
    body.write_bytes(add_grpc_frame(message))
    options = [
        f"http://{address}{INFER_METHOD}",
        f"--data={body}",
        "--header=content-type: application/grpc",
        "--header=te: trailers",
        f"--clients={connections}",
        f"--max-concurrent-streams={streams}",
        *duration_options,
    ]
    return _run_h2load(options, timeout_s)


def _run_h2load(options: list[str], timeout_s: float) -> str:
    command = [find_h2load(), "--threads=1", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)  # noqa: S603 - no shell
    except subprocess.TimeoutExpired as error:
        raise LoadGeneratorFailed(f"h2load did not end within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        raise LoadGeneratorFailed(f"h2load ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def parse_output(text: str, response_bytes: int, *, over_http: bool = False) -> dict[str, float]:
    """Read "requests/s", "requests" and "mean ms" from h2load's output.

    Args:
        text: The output.
        response_bytes: Size of a response that is no error.
        over_http: Whether it is the body of an answer of HTTP, and not gRPC's message with a frame around it.

    Raises:
        LoadGeneratorFailed: If requests failed, or fewer bytes were received than that number of responses has.
    """
    rate = re.search(r"^finished in .*?, ([\d.]+) req/s", text, re.MULTILINE)
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    data = re.search(r"^traffic: .*?\((\d+)\) data$", text, re.MULTILINE)
    times = re.search(r"^time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) ", text, re.MULTILINE)
    if not (rate and counts and data and times):
        raise LoadGeneratorFailed(f"the output of h2load has another format than expected: {text.strip()[-300:]}")
    done, succeeded, failed, errored, late = (int(count) for count in counts.groups())
    if not done or succeeded < done or failed or errored or late:
        raise LoadGeneratorFailed(f"h2load: of {done} requests {succeeded} succeeded")
    size = response_bytes + (0 if over_http else len(add_grpc_frame(b"")))
    expected = succeeded * size
    # One response more: where each takes long, few come, and the one under way is a larger share of them.
    if int(data[1]) < expected * (1 - _MISSING_BYTES_LIMIT) - size:
        raise LoadGeneratorFailed(
            f"h2load: {succeeded} responses have {data[1]} bytes, expected {expected}: some are errors"
        )
    milliseconds = {"us": 1e-3, "ms": 1.0, "s": 1e3}[times[2]]
    return {"requests/s": float(rate[1]), "requests": float(succeeded), "mean ms": float(times[1]) * milliseconds}


def parse_log(text: str) -> list[float]:
    """Read the duration of each request, in microseconds, from a log with lines of start, HTTP status and duration."""
    return [float(line.split("\t")[2]) for line in text.splitlines()]
