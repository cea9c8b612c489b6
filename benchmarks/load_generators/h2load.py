"""h2load: a load generator in C++ for HTTP/2 and HTTP/1.1, without support for gRPC.

It counts every response with HTTP status 200 as a success, but gRPC errors have this status as well. An error has no
message, so the number of received bytes shows whether there were errors.
"""

import dataclasses
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from benchmarks.environments import find_h2load
from benchmarks.errors import LoadGeneratorFailed
from benchmarks.metrics import percentile
from benchmarks.requests import INFER_METHOD, add_grpc_frame
from benchmarks.scenarios import LoadSettings

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_MISSING_BYTES_LIMIT = 0.01
"""Share of the expected bytes that may be missing, because some responses are in flight when the time ends."""


@dataclasses.dataclass(frozen=True)
class Target:
    """The requests, their address, and the data bytes of a successful response.

    Attributes:
        url: URL of the requests.
        fields: Header fields.
        body: Body of all requests.
        answer_bytes: Size of the body of a response. For gRPC it includes the frame around the message.
        options: More options of h2load.
    """

    url: str
    fields: Mapping[str, str]
    body: bytes
    answer_bytes: int
    options: tuple[str, ...] = ()


def grpc_target(
    port: int, message: bytes, response_bytes: int, headers: Mapping[str, str] = _NO_HEADERS, host: str = "127.0.0.1"
) -> Target:
    """Describe calls with an encoded request and the size of its response. `headers` are the metadata of the calls."""
    fields = {"content-type": "application/grpc", "te": "trailers", **headers}
    answer_bytes = response_bytes + len(add_grpc_frame(b""))
    return Target(f"http://{host}:{port}{INFER_METHOD}", fields, add_grpc_frame(message), answer_bytes)


def http_target(port: int, path: str, fields: Mapping[str, str], body: bytes, answer_bytes: int) -> Target:
    """Describe requests over HTTP/1.1, one at a time on each connection."""
    return Target(f"http://127.0.0.1:{port}{path}", fields, body, answer_bytes, ("--h1",))


def run_h2load(load: LoadSettings, seconds: float, target: Target, work: Path) -> dict[str, float]:
    """Send requests for some time, after a warm-up, and measure. `work` is a folder for h2load's files.

    Returns:
        "requests/s", "requests", "mean ms", "p50 ms", "p99 ms" and "max ms".

    Raises:
        LoadGeneratorFailed: If h2load fails, or requests do.
    """
    log = work / "h2load.log"
    log.unlink(missing_ok=True)
    options = [
        f"--clients={load.connections}",
        f"--max-concurrent-streams={load.in_flight // load.connections}",
        f"--duration={round(seconds * 1000)}ms",
        f"--log-file={log}",
    ]
    if load.warm_up:
        options.append(f"--warm-up-time={round(load.warm_up * 1000)}ms")
    found = parse_output(_run(options, target, work, load.warm_up + seconds + 30), target.answer_bytes)
    durations = parse_log(log.read_text())
    log.unlink()
    if not durations:
        raise LoadGeneratorFailed("h2load has logged no request")
    p50, p99 = (percentile(durations, fraction) / 1e3 for fraction in (0.5, 0.99))
    return {**found, "p50 ms": p50, "p99 ms": p99, "max ms": max(durations) / 1e3}


def send_requests(requests: int, target: Target, work: Path) -> None:
    """Send a number of requests, 64 in flight on 4 connections. Raises LoadGeneratorFailed as `run_h2load` does."""
    options = [f"--requests={requests}", "--clients=4", "--max-concurrent-streams=16"]
    parse_output(_run(options, target, work, 600), target.answer_bytes)


def _run(options: Sequence[str], target: Target, work: Path, timeout_s: float) -> str:
    body = work / "request"
    body.write_bytes(target.body)
    headers = [f"--header={name}: {value}" for name, value in target.fields.items()]
    command = [find_h2load(), "--threads=1", target.url, f"--data={body}", *headers, *target.options, *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)  # noqa: S603 - no shell
    except subprocess.TimeoutExpired as error:
        raise LoadGeneratorFailed(f"h2load did not end within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        raise LoadGeneratorFailed(f"h2load ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def parse_output(text: str, answer_bytes: int) -> dict[str, float]:
    """Read "requests/s", "requests" and "mean ms" from h2load's output.

    A successful response has `answer_bytes` bytes.

    Raises:
        LoadGeneratorFailed: If requests failed, or h2load received fewer bytes than that number of responses has.
    """
    rate = re.search(r"^finished in .*?, ([\d.]+) req/s", text, re.MULTILINE)
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    data = re.search(r"^traffic: .*?\((\d+)\) data$", text, re.MULTILINE)
    times = re.search(r"^time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) ", text, re.MULTILINE)
    if not (rate and counts and data and times):
        raise LoadGeneratorFailed(f"the output of h2load has an unexpected format: {text.strip()[-300:]}")
    done, succeeded, failed, errored, late = (int(count) for count in counts.groups())
    if not done or succeeded < done or failed or errored or late:
        raise LoadGeneratorFailed(f"h2load: only {succeeded} of {done} requests succeeded")
    expected = succeeded * answer_bytes
    # Allow one more response: if each takes long, few arrive, and the one in flight is a larger share of them.
    if int(data[1]) < expected * (1 - _MISSING_BYTES_LIMIT) - answer_bytes:
        raise LoadGeneratorFailed(
            f"h2load: {succeeded} responses have {data[1]} bytes, expected {expected}: some are errors"
        )
    milliseconds = {"us": 1e-3, "ms": 1.0, "s": 1e3}[times[2]]
    return {"requests/s": float(rate[1]), "requests": float(succeeded), "mean ms": float(times[1]) * milliseconds}


def parse_log(text: str) -> list[float]:
    """Read the duration of each request, in microseconds, from a log with lines of start, HTTP status and duration."""
    return [float(line.split("\t")[2]) for line in text.splitlines()]
