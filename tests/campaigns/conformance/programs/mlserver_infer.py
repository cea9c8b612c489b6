"""MLServer's command `mlserver infer`: requests from a file, a line of JSON each, and their answers into another."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from campaigns.conformance.programs.arrays import drawn_walks, same
from campaigns.conformance.programs.reporting import PLAN, feature, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]

_SECONDS = 400


def infer(requests: list[dict[str, Any]], *options: str, model: str = MODEL, server: str = "plain") -> list[Any]:
    """Run the command; return what it has written, in the order of the requests."""
    with tempfile.TemporaryDirectory() as folder:
        sent, came = Path(folder, "requests"), Path(folder, "answers")
        sent.write_text("\n".join(map(json.dumps, requests)))
        command = [str(Path(sys.executable).with_name("mlserver")), "infer", "--url", PLAN["http"][server]]
        command += ["--model-name", model, "--input-data-path", str(sent), "--output-data-path", str(came)]
        # over TLS, aiohttp trusts what Python trusts
        environment = os.environ | {"SSL_CERT_FILE": PLAN["ca"]}
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, timeout=_SECONDS, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answers = [json.loads(line) for line in came.read_text().splitlines()]
    assert len(answers) == len(requests), done.stdout + done.stderr
    return sorted(answers, key=lambda answer: answer["parameters"]["batch_index"])


def request(array: np.ndarray, name: str = "input", datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    """A request that asks for the logits."""
    tensor = {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.reshape(-1).tolist()}
    return {"inputs": [tensor], "outputs": [{"name": "logits"}], **more}


def walk(index: int = 0) -> np.ndarray:
    """A walk as a batch of one row, (1, sequence, 2) float32."""
    return np.array([CLASSIFIER["walks"][index]], np.float32)


def logits_of(answer: Any) -> np.ndarray:
    (output,) = answer["outputs"]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def of_all_walks(*options: str) -> None:
    """Ask for all walks of the plan."""
    answers = infer([request(walk(index)) for index in range(len(CLASSIFIER["walks"]))], *options)
    for answer, logits in zip(answers, CLASSIFIER["logits"], strict=True):
        same(logits_of(answer), [logits])


@feature("infer-json")
def infer_json() -> None:
    of_all_walks()


@feature("infer-binary")
def infer_binary() -> None:
    of_all_walks("--binary-data")


@feature("infer-integers")
def infer_integers() -> None:
    rows = [request(np.array([row], np.int64), "tokens", "INT64") for row in TEXT["rows"]]
    for options in ((), ("--binary-data",)):
        answers = infer(rows, *options, model=TEXT["model"])
        for answer, logits in zip(answers, TEXT["logits"], strict=True):
            same(logits_of(answer), [logits])


@feature("walks")
def walks() -> None:
    drawn = drawn_walks()
    requests = [request(points[None]) for points in drawn.walks]
    drawn.check([logits_of(answer)[0] for answer in infer(requests, "--binary-data", model=drawn.model)])


@feature("infer-async")
def infer_async() -> None:
    of_all_walks("--workers", "7")


@feature("id")
def request_id() -> None:
    (answer,) = infer([request(walk(), id="mine")])
    assert answer["id"] == "mine"


@feature("batch")
def batch() -> None:
    """Walks of one length, in batches that the command makes and takes apart."""
    count = 50
    points = np.random.default_rng(3).normal(size=(count, 1, 6, 2)).astype(np.float32)
    alone = infer([request(walk) for walk in points], "--batch-size", "1")
    joined = infer([request(walk) for walk in points], "--batch-size", "16")
    for one, other in zip(alone, joined, strict=True):
        same(logits_of(other), logits_of(one))


@feature("headers")
def headers() -> None:
    infer([request(walk())], "--request-headers", "My-Header: mine")


@feature("error")
def errors() -> None:
    (answer,) = infer([request(np.zeros((1, 2, 3), np.float32))], "--retries", "1")
    said = answer["error"]["msg"]
    assert '"input"' in said, said
    assert "features" in said, said


@feature("tls")
def tls() -> None:
    (answer,) = infer([request(walk())], "--use-ssl", server="tls")
    same(logits_of(answer), [CLASSIFIER["logits"][0]])


if __name__ == "__main__":
    run()
