"""perf_analyzer with each way of sending requests. A feature fails if no figures are reported."""

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from campaigns.conformance.programs.reporting import PLAN, feature, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]
PROGRAM = Path(sys.executable).with_name("perf_analyzer")
FOLDER = Path(tempfile.mkdtemp(prefix="perf_analyzer-"))


class NoReport(Exception):
    """perf_analyzer ended without figures. Its exit status is 0 even then."""


def measure(model: str, *options: str, server: str = "plain") -> None:
    """Send a hundred requests, two at a time.

    Raises:
        NoReport: If it reports no figures. The message is its output.
    """
    report = FOLDER / "report.csv"
    report.unlink(missing_ok=True)
    command = [str(PROGRAM), "-m", model, "-u", PLAN["servers"][server], "-i", "grpc", "-f", str(report)]
    if not any(option.startswith("--request-rate") for option in options):
        command.append("--concurrency-range=2")
    command += ["--request-count=100", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if not report.is_file():
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise NoReport(next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "nothing"))


def data(name: str, content: object) -> str:
    """An option with a file of requests in perf_analyzer's format."""
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"data": content}))
    return f"--input-data={path}"


def walks() -> str:
    entries = []
    for points in CLASSIFIER["walks"]:
        content = [value for point in points for value in point]
        entries.append({"input": {"content": content, "shape": [1, len(points), 2]}})
    return data("walks", entries)


def padded() -> str:
    points = [value for point in CLASSIFIER["walks"][3] for value in point]
    steps = len(points) // 2
    entry = {
        "input": {"content": points * 2, "shape": [2, steps, 2]},
        "lengths": {"content": [steps, 1], "shape": [2]},
    }
    return data("padded", [entry])


def steps() -> str:
    sequence = [{"input": {"content": point, "shape": [1, 1, 2]}} for point in CLASSIFIER["walks"][3]]
    return data("steps", [sequence])


def rows() -> str:
    return data("rows", [{"tokens": {"content": row, "shape": [1, len(row)]}} for row in TEXT["rows"]])


def batch() -> str:
    row = TEXT["rows"][0]
    return data("batch", [{"tokens": {"content": row * 8, "shape": [8, len(row)]}}])


TLS = ("--ssl-grpc-use-ssl", "true", "--ssl-grpc-root-certifications-file", PLAN["ca"])

MEASURED: dict[str, tuple[str, Callable[[], str], tuple[str, ...]]] = {
    "infer-raw": (MODEL, walks, ("--sync",)),
    "infer-integers": (TEXT["model"], rows, ()),
    "infer-async": (MODEL, walks, ("--async", "--request-rate-range=100", "--request-distribution=poisson")),
    "batch": (TEXT["model"], batch, ()),
    "lengths": (MODEL, padded, ()),
    "batch-option": (TEXT["model"], rows, ("-b", "8")),
    "priority": (MODEL, walks, ("--request-parameter=priority:1:int",)),
    "parameters": (MODEL, walks, ("--request-parameter=mine:3:int",)),
    "compression": (MODEL, walks, ("--grpc-compression-algorithm=gzip",)),
    "deflate": (MODEL, walks, ("--grpc-compression-algorithm=deflate",)),
    "tls": (MODEL, walks, TLS),
    "stream": (MODEL, walks, ("--streaming", "--async")),
    "sequence-stream": (MODEL, steps, ("--streaming", "--async")),
    "sequence-unary": (MODEL, steps, ("--sync", "--num-of-sequences=2")),
    "memory-register": (TEXT["model"], rows, ("--shared-memory=system",)),
    "trace-change": (MODEL, walks, ("--trace-level=TIMESTAMPS",)),
}
"""By feature: the model, its requests, and the options that try the feature."""


def try_option(name: str) -> None:
    model, requests, options = MEASURED[name]
    measure(model, requests(), *options, server="tls" if name == "tls" else "plain")


for name in MEASURED:
    feature(name)(functools.partial(try_option, name))


def refused(model: str, *options: str, words: str) -> None:
    try:
        measure(model, *options)
    except NoReport as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"expected {words}")


@feature("timeout")
def timeout() -> None:
    measure(MODEL, walks(), "--request-parameter=timeout:10000000:int")
    refused(MODEL, walks(), "--request-parameter=timeout:1:int", words="Request timeout expired")


@feature("error")
def errors() -> None:
    refused("unknown", walks(), words='no model is named "unknown"')
    wrong = [{"input": {"content": [0.0] * 6, "shape": [1, 2, 3]}}]
    refused(MODEL, data("wrong", wrong), words="input")


@feature("statistics")
def statistics() -> None:
    measure(MODEL, walks())
    rows = (FOLDER / "report.csv").read_text().splitlines()
    figures = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert float(figures["Server Compute Infer"]) > 0, figures


def refusal(error: BaseException) -> tuple[str, str] | None:
    """Return the server's message, without a status, because perf_analyzer prints none."""
    return ("", str(error)) if isinstance(error, NoReport) else None


if __name__ == "__main__":
    run(refusal)
