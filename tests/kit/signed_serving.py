"""Servers of signed versions in this process, and which versions serve there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kit.served_here import serving
from kit.signed_versions import KeyPair
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server

__all__ = ["served", "signed_serving"]


def served(server: Server, name: str = "good") -> list[int]:
    """The versions of a model that serve."""
    return [int(each.model.version) for each in server._repository.served() if each.model.name == name]


@contextlib.contextmanager
def signed_serving(
    repository: Path, *keys: KeyPair, **settings: Any
) -> Iterator[tuple[Server, rpc.GRPCInferenceServiceStub]]:
    """Serve what one of the keys has signed. Models are loaded at the start, and when they are asked for."""
    settings = {"model_control": "explicit", "load_model": "*", **settings}
    with serving(repository, require_signature=tuple(key.public for key in keys), **settings) as found:
        yield found
