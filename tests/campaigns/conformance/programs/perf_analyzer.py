"""perf_analyzer: each way of sending requests. It compares no answers. What fails is that it reports no figures."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from campaigns.conformance.programs.reporting import PLAN, feature, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]
PROGRAM = Path(sys.executable).with_name("perf_analyzer")
FOLDER = Path(tempfile.mkdtemp(prefix="perf_analyzer-"))


class NoReport(Exception):
    """It ended without figures, with these words. Its exit status is 0 even then."""


def measure(model: str, *options: str, server: str = "plain", count: int = 40) -> None:
    """Send some requests, two at a time.

    Raises:
        NoReport: If it has no figures to report, with what it says instead.
    """
    report = FOLDER / "report.csv"
    report.unlink(missing_ok=True)
    command = [str(PROGRAM), "-m", model, "-u", PLAN["servers"][server], "-i", "grpc", "-f", str(report)]
    if not any(option.startswith("--request-rate") for option in options):
        command.append("--concurrency-range=2")
    done = subprocess.run(
        [*command, f"--request-count={count}", *options], capture_output=True, text=True, check=False, timeout=60
    )
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


def refused(model: str, *options: str, words: str) -> None:
    try:
        measure(model, *options)
    except NoReport as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"expected {words}")


@feature("infer-raw")
def unary() -> None:
    measure(MODEL, walks(), "--sync")


@feature("infer-integers")
def integers() -> None:
    measure(TEXT["model"], rows())


@feature("infer-async")
def in_flight() -> None:
    measure(MODEL, walks(), "--async", "--request-rate-range=100", "--request-distribution=poisson", count=100)


@feature("batch")
def batch() -> None:
    row = TEXT["rows"][0]
    measure(TEXT["model"], data("batch", [{"tokens": {"content": row * 8, "shape": [8, len(row)]}}]))


@feature("lengths")
def padded() -> None:
    points = [value for point in CLASSIFIER["walks"][3] for value in point]
    steps = len(points) // 2
    entry = {
        "input": {"content": points * 2, "shape": [2, steps, 2]},
        "lengths": {"content": [steps, 1], "shape": [2]},
    }
    measure(MODEL, data("padded", [entry]))


@feature("batch-option")
def batch_option() -> None:
    measure(TEXT["model"], "-b", "8", rows())


@feature("timeout")
def timeout() -> None:
    measure(MODEL, walks(), "--request-parameter=timeout:10000000:int")
    refused(MODEL, walks(), "--request-parameter=timeout:1:int", words="Request timeout expired")


@feature("priority")
def priority() -> None:
    measure(MODEL, walks(), "--request-parameter=priority:1:int")


@feature("parameters")
def parameters() -> None:
    measure(MODEL, walks(), "--request-parameter=mine:3:int")


@feature("error")
def errors() -> None:
    refused("unknown", walks(), words='no model is named "unknown"')
    wrong = [{"input": {"content": [0.0] * 6, "shape": [1, 2, 3]}}]
    refused(MODEL, data("wrong", wrong), words="input")


@feature("compression")
def compression() -> None:
    measure(MODEL, walks(), "--grpc-compression-algorithm=gzip")


@feature("tls")
def tls() -> None:
    options = ("--ssl-grpc-use-ssl", "true", "--ssl-grpc-root-certifications-file", PLAN["ca"])
    measure(MODEL, walks(), *options, server="tls")


@feature("stream")
def stream() -> None:
    measure(MODEL, walks(), "--streaming", "--async")


@feature("sequence-stream")
def sequence_stream() -> None:
    measure(MODEL, steps(), "--streaming", "--async")


@feature("sequence-unary")
def sequence_unary() -> None:
    measure(MODEL, steps(), "--sync", "--num-of-sequences=2")


@feature("statistics")
def statistics() -> None:
    measure(MODEL, walks())
    rows = (FOLDER / "report.csv").read_text().splitlines()
    figures = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert float(figures["Server Compute Infer"]) > 0, figures


@feature("memory-register")
def memory_register() -> None:
    measure(TEXT["model"], rows(), "--shared-memory=system")


@feature("trace-change")
def trace_change() -> None:
    measure(MODEL, walks(), "--trace-level=TIMESTAMPS")


def rows() -> str:
    return data("rows", [{"tokens": {"content": row, "shape": [1, len(row)]}} for row in TEXT["rows"]])


def steps() -> str:
    sequence = [{"input": {"content": point, "shape": [1, 1, 2]}} for point in CLASSIFIER["walks"][3]]
    return data("steps", [sequence])


def refusal(error: BaseException) -> tuple[str, str] | None:
    """perf_analyzer prints the server's words, and no status."""
    return ("", str(error)) if isinstance(error, NoReport) else None


if __name__ == "__main__":
    run(refusal)
