"""Requests whose header is known, without a lane that they come on."""

import dataclasses

from rnnserve.server.headers import Header, Headers


@dataclasses.dataclass
class KnownRequest:
    """What `headers.Known` asks for."""

    header: Header
    payload: bytes
    id_field: bytes


def recognised(headers: Headers, payload: bytes) -> KnownRequest | None:
    """The request, if its header is known."""
    found = headers.recognise(payload)
    return None if found is None else KnownRequest(found[0], payload, found[1])
