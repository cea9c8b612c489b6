"""The HTTP requests for each server, and the reading and checking of its responses.

Servers of the protocol get its JSON or its binary tensors. The other servers have smaller interfaces: as in their
tutorials, a request contains only the points.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from http.client import HTTPConnection, HTTPException

import numpy as np
import numpy.typing as npt

from benchmarks import server_names
from benchmarks.errors import WrongAnswer
from benchmarks.requests import BenchmarkRequest, check_logits
from benchmarks.server_processes import ServerProcess

_LENGTH = "inference-header-content-length"
_JSON, _BYTES = "application/json", "application/octet-stream"
_OF_PROTOCOL = (server_names.HTTP, server_names.HTTP_TWO, server_names.TRITON_HTTP, server_names.MLSERVER)

_REPETITIONS, _AT_ONCE = 64, 8
_START_S = _TIMEOUT_S = 60.0

Logits = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class HttpRequest:
    """A request, with a function that reads the response.

    Attributes:
        path: Path of the URL.
        fields: Header fields.
        body: Body.
        read: Returns the logits (batch, classes) from the header fields (in lower case) and the body of a response.
    """

    path: str
    fields: Mapping[str, str]
    body: bytes
    read: Callable[[Mapping[str, str], bytes], Logits]


def http_request(server: str, form: str, model: str, request: BenchmarkRequest) -> HttpRequest:
    """Write a request of one row for a server in the form "json" or "binary"."""
    points = request.input.astype("<f4")  # (batch 1, sequence, features)
    if server in _OF_PROTOCOL:
        path = f"/v2/models/{model}/infer"
        tensor = {"name": "input", "datatype": "FP32", "shape": list(points.shape)}
        if form == "json":
            asked = {"inputs": [{**tensor, "data": points.tolist()}], "outputs": [{"name": "logits"}]}
            return HttpRequest(path, {"content-type": _JSON}, json.dumps(asked).encode(), _read_protocol)
        asked = {
            "inputs": [{**tensor, "parameters": {"binary_data_size": points.nbytes}}],
            "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
        }
        text = json.dumps(asked).encode()
        fields = {"content-type": _BYTES, _LENGTH: str(len(text))}
        return HttpRequest(path, fields, text + points.tobytes(), _read_protocol)
    path = "/inference" if server == server_names.MOSEC else "/predict"
    if form == "json":
        return HttpRequest(path, {"content-type": _JSON}, json.dumps({"input": points.tolist()}).encode(), _read_json)
    return HttpRequest(path, {"content-type": _BYTES}, points.tobytes(), _read_bytes)


def check_http_answers(process: ServerProcess, asked: HttpRequest, request: BenchmarkRequest) -> int:
    """Send a request several times at once, so that batches are shared, and compare with eager PyTorch.

    Returns:
        The size of a response's body.

    Raises:
        WrongAnswer: If a logit differs from eager PyTorch, or a request fails.
        ServerFailed: If the server ends early.
    """
    deadline = time.monotonic() + _START_S
    while True:
        process.check_alive()
        try:
            _check_http_answer(process, asked, request)
            break
        except (OSError, HTTPException, WrongAnswer):  # the server is starting
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        return min(pool.map(lambda _: _check_http_answer(process, asked, request), range(_REPETITIONS)))


def _check_http_answer(process: ServerProcess, asked: HttpRequest, request: BenchmarkRequest) -> int:
    connection = HTTPConnection("127.0.0.1", process.port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", asked.path, asked.body, dict(asked.fields))
        reply = connection.getresponse()
        body = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise WrongAnswer(f"{process.name} responded with status {reply.status}: {body[:300]!r}")
    logits = asked.read({name.lower(): value for name, value in reply.getheaders()}, body)
    check_logits(process.name, logits, request)
    return len(body)


def _read_protocol(fields: Mapping[str, str], body: bytes) -> Logits:
    size = int(fields.get(_LENGTH, len(body)))
    (output,) = json.loads(body[:size])["outputs"]
    if output["name"] != "logits":
        raise WrongAnswer(f"the output is {output['name']}, expected logits")
    if "data" in output:
        return np.array(output["data"], "<f4").reshape(output["shape"])
    return np.frombuffer(body, "<f4", offset=size).reshape(output["shape"])


def _read_json(_: Mapping[str, str], body: bytes) -> Logits:
    return np.array(json.loads(body)["logits"], "<f4")


def _read_bytes(_: Mapping[str, str], body: bytes) -> Logits:
    return np.frombuffer(body, "<f4").reshape(1, -1)
