"""The page of the protocol over gRPC: services, methods, messages, and the words that go beside them."""

import inspect
from collections.abc import Iterator

from access_reference import needs
from proto_reference import Described, Proto
from reference_text import cell, said_of_names, table
from rnnserve.protos import protocol_words
from rnnserve.protos.access_table import METHODS, Need

_PROTOS = ("inference.proto", "health.proto")


def protocol() -> Iterator[str]:
    """The page, line by line."""
    protos = [Proto(name) for name in _PROTOS]
    yield "# Protocol\n"
    yield (
        "The services that a server has over gRPC, as their .proto files and the code say it; [grpc.md](../grpc.md) "
        "says how they are used, and [grpc-clients.md](grpc-clients.md) which clients were tried. What a method needs "
        "is asked for where the server has `--tokens` or `--client-roles` ([access.md](../access.md)).\n"
    )
    yield "## Methods\n"
    told = set()
    for service in (service for proto in protos for service in proto.services()):
        yield from _service(service)
        told |= {f"/{service.name}/{name}" for name, _, _ in service.rows}
    yield "### Of other packages\n"
    others = [(name, need) for name, need in METHODS.items() if name not in told and need is not Need.INSIDE]
    yield from table(("method", "needs"), [(f"`{name.lstrip('/')}`", cell(needs()[need])) for name, need in others])
    yield "## Parameters\n"
    yield "Any other parameter is taken, and no model reads it.\n"
    of_parameters = [(name, *said.split(": ", 1)) for name, said in _words("Parameter of ")]
    yield from table(("parameter", "of", "means"), of_parameters)
    yield "## Metadata\n"
    yield "Of calls, beside the messages.\n"
    yield from table(("name", "what"), [*_words("Metadata"), *_words("Trailing metadata")])
    for proto in protos:
        yield f"## Messages of `{proto.package}`\n"
        yield f"{cell(proto.intro)}\n"
        for one in proto.described():
            yield from one.lines()


def _service(service: Described) -> Iterator[str]:
    yield f"### `{service.name}`\n"
    if service.comment:
        yield f"{cell(service.comment)}\n"
    rows = [
        (f"`{name}`", way, cell(said) or "-", cell(needs()[METHODS[f"/{service.name}/{name}"]]))
        for name, way, said in service.rows
    ]
    yield from table(("method", "way", "means", "needs"), rows)


def _words(beginning: str) -> Iterator[tuple[str, str]]:
    """Words whose docstrings begin so, each with what follows "Parameter of ", or the whole of it."""
    for names, said in said_of_names(inspect.getsource(protocol_words)).items():
        text = " ".join(said.split())
        if text.startswith(beginning):
            for name in names:
                yield f"`{getattr(protocol_words, name)}`", cell(text.removeprefix("Parameter of "))
