"""What each server is sent over HTTP, and how its answer is read.

Servers of the protocol get its JSON, or its binary tensors. The others have an interface of their own, which is
smaller: they are sent the points and nothing else, as their tutorials do it.
"""

import dataclasses
import json
import struct
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from benchmarks import server_names
from benchmarks.errors import WrongAnswer
from benchmarks.requests import BenchmarkRequest

__all__ = ["HttpRequest", "http_request"]

_LENGTH = "inference-header-content-length"
_JSON, _BYTES = "application/json", "application/octet-stream"

Logits = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class HttpRequest:
    """A request, and how its answer is read.

    Attributes:
        path: Path of it.
        fields: Header fields.
        body: Body.
        read: Gives the logits (batch, classes) of an answer: of its header fields, lower case, and its body.
    """

    path: str
    fields: Mapping[str, str]
    body: bytes
    read: Callable[[Mapping[str, str], bytes], Logits]


def http_request(server: str, form: str, model: str, request: BenchmarkRequest) -> HttpRequest:
    """Write a request for a server.

    Args:
        server: Name of the server.
        form: "json" or "binary".
        model: Name of the model.
        request: Request of one row.

    Raises:
        ValueError: If the server is not measured with this form.
    """
    points = request.input.astype("<f4")  # (batch 1, sequence, features)
    if server in (server_names.HTTP, server_names.HTTP_TWO, server_names.TRITON_HTTP, server_names.MLSERVER):
        path = f"/v2/models/{model}/infer"
        tensor = {"name": "input", "datatype": "FP32", "shape": list(points.shape)}
        if form == "json":
            asked = {"inputs": [{**tensor, "data": points.tolist()}], "outputs": [{"name": "logits"}]}
            return HttpRequest(path, {"content-type": _JSON}, json.dumps(asked).encode(), _read_protocol)
        if server == server_names.MLSERVER:
            raise ValueError(f"{server} is not measured with {form}")
        asked = {
            "inputs": [{**tensor, "parameters": {"binary_data_size": points.nbytes}}],
            "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
        }
        text = json.dumps(asked).encode()
        fields = {"content-type": _BYTES, _LENGTH: str(len(text))}
        return HttpRequest(path, fields, text + points.tobytes(), _read_protocol)
    path = "/inference" if server == server_names.MOSEC else "/predict"
    if form == "json":
        read = _read_bare_list if server == server_names.BENTOML else _read_logits
        return HttpRequest(path, {"content-type": _JSON}, json.dumps({"input": points.tolist()}).encode(), read)
    if server != server_names.MOSEC:
        raise ValueError(f"{server} is not measured with {form}")
    return HttpRequest(path, {"content-type": _BYTES}, points.tobytes(), _read_bytes)


def _read_protocol(fields: Mapping[str, str], body: bytes) -> Logits:
    size = int(fields.get(_LENGTH, len(body)))
    (output,) = json.loads(body[:size])["outputs"]
    if output["name"] != "logits":
        raise WrongAnswer(f"the output is {output['name']}, expected logits")
    if "data" in output:
        return np.array(output["data"], "<f4").reshape(output["shape"])
    return np.frombuffer(body, "<f4", offset=size).reshape(output["shape"])


def _read_logits(_: Mapping[str, str], body: bytes) -> Logits:
    return np.array(json.loads(body)["logits"], "<f4")


def _read_bare_list(_: Mapping[str, str], body: bytes) -> Logits:
    return np.array(json.loads(body), "<f4")


def _read_bytes(_: Mapping[str, str], body: bytes) -> Logits:
    return np.array([struct.unpack(f"<{len(body) // 4}f", body)], "<f4")
