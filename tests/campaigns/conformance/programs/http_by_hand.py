"""HTTP by hand: bodies are written and answers are read here, and a library of the program's choice sends them."""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from campaigns.conformance.programs import v2_features, v2_over_http
from campaigns.conformance.programs.arrays import drawn_walks, same, walk_batch
from campaigns.conformance.programs.reporting import PLAN, feature
from campaigns.conformance.programs.v2_calls import CLASSIFIER, MODEL, TEXT, Way, client, inputs, refused, run_as, walk

__all__ = ["Library", "Sent", "run_with", "v2_over_http"]

INFER = f"/v2/models/{MODEL}/infer"


@dataclasses.dataclass(frozen=True)
class Sent:
    """A response.

    Attributes:
        status: HTTP status.
        headers: By name, lower case.
        content: The body, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class Library(Protocol):
    """A session of a library, with connections that it keeps."""

    def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Sent:
        """Send a request, and wait for its answer."""

    def close(self) -> None:
        """Close the connections."""


class Refused(Exception):
    """An answer with another status than 200."""

    def __init__(self, sent: Sent) -> None:
        super().__init__(f"{sent.status}: {sent.content[:500]!r}")
        assert sent.headers["content-type"] == "application/json", sent.headers
        self.status, self.words = str(sent.status), json.loads(sent.content)["error"]


class Tensor:
    """An input, in JSON."""

    def __init__(self, name: str, shape: Sequence[int], datatype: str) -> None:
        self.said: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}

    def set_data_from_numpy(self, array: np.ndarray) -> None:
        self.said["data"] = array.tolist()


class Output:
    """An output that is asked for."""

    def __init__(self, name: str, class_count: int = 0) -> None:
        self.said = {"name": name, **({"parameters": {"classification": class_count}} if class_count else {})}


class Answer:
    """An answer in JSON."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._said = said

    def get_response(self) -> dict[str, Any]:
        return self._said

    def as_numpy(self, name: str) -> np.ndarray:
        (found,) = [each for each in self._said["outputs"] if each["name"] == name]
        return np.array(found["data"], object if found["datatype"] == "BYTES" else np.float32).reshape(found["shape"])


class Session:
    """Requests to one of the plan's servers, with the methods that tritonclient has."""

    def __init__(self, server: str = "plain") -> None:
        """Begin a session of the library."""
        self._root = f"{'https' if server == 'tls' else 'http'}://{PLAN['http'][server]}"
        self._library = _libraries[-1](PLAN["ca"] if server == "tls" else "")

    def send(self, method: str, path: str, content: bytes | None = None, **headers: str) -> Sent:
        """Send a request. Headers have underscores instead of hyphens.

        Raises:
            Refused: If the status is not 200.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = self._library.send(method, self._root + path, content, named)
        if sent.status != 200:
            raise Refused(sent)
        return sent

    def get(self, path: str) -> Any:
        """Get JSON."""
        return json.loads(self.send("GET", path).content)

    def post(self, path: str, body: object, **headers: str) -> Any:
        """Post JSON, and get JSON."""
        return json.loads(self.send("POST", path, json.dumps(body).encode(), **headers).content)

    def close(self) -> None:
        """Close the connections."""
        self._library.close()

    def infer(
        self,
        model: str,
        inputs: Sequence[Tensor],
        *,
        outputs: Sequence[Output] = (),
        request_id: str = "",
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Answer:
        """Send a request. Further arguments become parameters."""
        body = {"inputs": [each.said for each in inputs], "parameters": {**more, **(parameters or {})}}
        body |= {"id": request_id} if request_id else {}
        body |= {"outputs": [each.said for each in outputs]} if outputs else {}
        return Answer(self.post(f"/v2/models/{model}/infer", body))

    def is_server_live(self) -> bool:
        return self.get("/v2/health/live") == {"live": True}

    def is_server_ready(self) -> bool:
        return self.get("/v2/health/ready") == {"ready": True}

    def is_model_ready(self, model: str, version: str = "") -> bool:
        try:
            said = self.get(f"/v2/models/{model}{f'/versions/{version}' * bool(version)}/ready")
        except Refused as error:
            assert error.status in ("404", "503")
            return False
        return said == {"name": model, "ready": True}

    def get_server_metadata(self) -> Any:
        return self.get("/v2")

    def get_model_metadata(self, model: str) -> Any:
        return self.get(f"/v2/models/{model}")

    def get_model_config(self, model: str) -> Any:
        return self.get(f"/v2/models/{model}/config")

    def get_inference_statistics(self, model: str = "") -> Any:
        return self.get(f"/v2/models{f'/{model}' * bool(model)}/stats")

    def get_model_repository_index(self) -> Any:
        return self.post("/v2/repository/index", {"ready": True})

    def load_model(self, model: str, config: str = "") -> None:
        body = {"parameters": {"config": config}} if config else {}
        assert self.post(f"/v2/repository/models/{model}/load", body) == {"name": model, "load": True}

    def unload_model(self, model: str) -> None:
        assert self.post(f"/v2/repository/models/{model}/unload", {}) == {"name": model, "unload": True}


_libraries: list[Callable[[str], Library]] = []


def run_with(library: Callable[[str], Library]) -> None:
    """Try all features with a library, whose sessions are made with a file of certificates, or an empty text."""
    _libraries.append(library)
    run_as(Way(Session, Tensor, Output, _refusal))


def _refusal(error: BaseException) -> tuple[str, str] | None:
    return (error.status, error.words) if isinstance(error, Refused) else None


@feature("models")
def models() -> None:
    assert set(client().get("/v2/models")["models"]) >= {MODEL, TEXT["model"]}


@feature("infer-json")
def infer_json() -> None:
    sent, logits = walk()
    same(client().infer(MODEL, sent).as_numpy("logits"), logits)
    flat = sent[0].said | {"data": np.array(sent[0].said["data"]).reshape(-1).tolist()}
    same(Answer(client().post(INFER, {"inputs": [flat]})).as_numpy("logits"), logits)


@feature("infer-binary")
def infer_binary() -> None:
    data, logits = np.array([CLASSIFIER["walks"][0]], np.float32), [CLASSIFIER["logits"][0]]
    described = {
        "name": "input",
        "datatype": "FP32",
        "shape": data.shape,
        "parameters": {"binary_data_size": data.nbytes},
    }
    wanted = {"name": "logits", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [described], "outputs": [wanted]}).encode()
    sent = client().send("POST", INFER, head + data.tobytes(), Inference_Header_Content_Length=str(len(head)))
    assert sent.headers["content-type"] == "application/octet-stream"
    length = int(sent.headers["inference-header-content-length"])
    (found,) = json.loads(sent.content[:length])["outputs"]
    assert found["parameters"]["binary_data_size"] == len(sent.content) - length
    same(np.frombuffer(sent.content[length:], "<f4").reshape(found["shape"]), logits)


@feature("walks")
def walks() -> None:
    drawn, asked = drawn_walks(), client()
    outputs = [Output("logits")]
    sent = (inputs(points[None]) for points in drawn.walks)
    drawn.check([asked.infer(drawn.model, each, outputs=outputs).as_numpy("logits")[0] for each in sent])


@feature("infer-async")
def infer_async() -> None:
    known = len(CLASSIFIER["walks"])

    def some(first: int) -> None:
        asked = client()
        for index in range(first, first + 25):
            sent, logits = walk(index % known)
            said = asked.infer(MODEL, sent, request_id=str(index))
            assert said.get_response()["id"] == str(index)
            same(said.as_numpy("logits"), logits)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(some, range(0, 200, 25)))


@feature("parameters")
def parameters() -> None:
    v2_features.parameters()
    refused(lambda: client().infer(MODEL, walk()[0], parameters={"triton_mine": 1}), "400", "triton_mine")


@feature("headers")
def headers() -> None:
    sent = client().send("GET", "/v2", X_Request_Id="mine")
    assert sent.headers["x-request-id"] == "mine"
    assert client().send("GET", "/v2").headers["x-request-id"]


@feature("error")
def errors() -> None:
    v2_features.errors()
    asked = client()
    refused(lambda: asked.get("/v2/models/unknown/ready"), "404", "unknown")
    refused(lambda: asked.post(f"/v2/models/{MODEL}/versions/7/infer", {"inputs": [walk()[0][0].said]}), "404", "7")
    refused(lambda: asked.send("POST", INFER, b"{"), "400", "not JSON")
    refused(lambda: asked.get("/v2/nothing"), "404")
    refused(lambda: asked.get(INFER), "405")


def _large() -> tuple[bytes, np.ndarray]:
    """A body that is worth compressing, and the logits."""
    points, lengths, logits = walk_batch(64)
    sent = inputs(points) + inputs(lengths, "lengths", "INT64")
    return json.dumps({"inputs": [each.said for each in sent]}).encode(), logits


@feature("compressed-requests")
def compressed_requests() -> None:
    body, logits = _large()
    for coding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        sent = client().send("POST", INFER, compress(body), Content_Encoding=coding)
        same(Answer(json.loads(sent.content)).as_numpy("logits"), logits)


@feature("metrics")
def metrics() -> None:
    sent = client().send("GET", "/metrics")
    assert sent.headers["content-type"].startswith("text/plain")
    lines = sent.content.decode().splitlines()
    assert any(line.startswith("rnnserve_requests_total{") and f'model="{MODEL}"' in line for line in lines)
