"""HTTP by hand: bodies are written and answers are read here, and a library of the program's choice sends them."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from campaigns.conformance.programs.reporting import PLAN, run

__all__ = [
    "CLASSIFIER",
    "INFER",
    "MODEL",
    "TEXT",
    "Library",
    "Sent",
    "Session",
    "asked",
    "new_session",
    "output",
    "refused",
    "run_with",
    "tensor",
    "walk",
]

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]
INFER = f"/v2/models/{MODEL}/infer"

_DATATYPES = {"float32": "FP32", "int64": "INT64"}


@dataclasses.dataclass(frozen=True)
class Sent:
    """What came back.

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


class Session:
    """Requests to one of the plan's servers."""

    def __init__(self, server: str = "plain") -> None:
        """Begin a session of the library."""
        self._root = f"{'https' if server == 'tls' else 'http'}://{PLAN['http'][server]}"
        self._library = _libraries[-1](PLAN["ca"] if server == "tls" else "")

    def send(self, method: str, path: str, content: bytes | None = None, **headers: str) -> Sent:
        """Send a request; headers have underscores for hyphens.

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


_libraries: list[Callable[[str], Library]] = []


def run_with(library: Callable[[str], Library]) -> None:
    """Try all features with a library, whose sessions are made with a file of certificates, or an empty text."""
    _libraries.append(library)
    run(lambda error: (error.status, error.words) if isinstance(error, Refused) else None)


def tensor(array: np.ndarray, name: str = "input") -> dict[str, Any]:
    """An input in JSON."""
    return {"name": name, "datatype": _DATATYPES[array.dtype.name], "shape": list(array.shape), "data": array.tolist()}


def asked(*arrays: np.ndarray, names: tuple[str, ...] = ("input", "lengths"), **more: Any) -> dict[str, Any]:
    """The body of a request."""
    return {"inputs": [tensor(array, name) for array, name in zip(arrays, names, strict=False)], **more}


def walk(index: int = 0) -> np.ndarray:
    """A walk as a batch of one row, (1, sequence, 2) float32."""
    return np.array([CLASSIFIER["walks"][index]], np.float32)


def output(said: Any, name: str = "logits") -> np.ndarray:
    """An output of an answer in JSON."""
    (found,) = [each for each in said["outputs"] if each["name"] == name]
    return np.array(found["data"], np.float32).reshape(found["shape"])


def refused(call: Callable[[], object], status: str, *words: str) -> None:
    """Check that a call is refused with a status and with a message that has all the words."""
    try:
        call()
    except Refused as error:
        assert error.status == status, str(error)
        assert all(word in error.words for word in words), str(error)
    else:
        raise AssertionError(f"expected {status}")


@contextlib.contextmanager
def new_session() -> Iterator[Session]:
    """A session with connections of its own, which are closed after the block."""
    session = Session()
    try:
        yield session
    finally:
        session.close()
