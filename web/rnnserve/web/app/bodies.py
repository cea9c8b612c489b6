"""The bodies of requests: bounded before they are read, where a header tells their size, and while they are."""

from collections.abc import Mapping

from starlette.types import Receive, Scope

from rnnserve.web.errors import RestError, bad_request
from rnnserve.web.rest.compression import Inflater

__all__ = ["BodyReader", "ClientGone", "read_header_length"]


class ClientGone(Exception):
    """The client has closed its connection before its request was whole."""


class BodyReader:
    """Reads bodies: each bounded, and all that are in hand together.

    Attributes:
        held: Bytes of the bodies that are being read, or are read and not let go.
    """

    def __init__(self, most: int, most_of_all: int) -> None:
        """Begin with none.

        Args:
            most: Bytes of a body, as sent and decompressed.
            most_of_all: Bytes of all bodies in hand.
        """
        self._most = most
        self._most_of_all = most_of_all
        self.held = 0

    async def read(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Read a request's body, decompressed. What it takes is held until `let_go`.

        Args:
            scope: Scope of ASGI; `let_go` needs it again.
            headers: Headers of the request.
            receive: Function of ASGI that gives the next part.

        Raises:
            ClientGone: If the client has.
            RestError: If the body is larger than one may be, others take all the room, or it is damaged.
        """
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._most:
            raise self._too_large(f"{int(length):,} bytes")
        self._hold(scope, int(length or b"0"))
        coding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        inflater = Inflater(coding, self._most) if coding and coding != "identity" else None
        pieces: list[bytes] = []
        arrived = made = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            arrived += len(piece)
            if arrived > self._most:
                raise self._too_large("more")
            if inflater is not None and piece:
                piece = inflater.feed(piece)
            made += len(piece)
            if made > scope["rnnserve.held"]:
                self._hold(scope, made - scope["rnnserve.held"])
            if piece:
                pieces.append(piece)
            if not message.get("more_body", False):
                break
        scope["rnnserve.read"] = True
        if inflater is not None:
            inflater.end()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def take(self, size: int) -> bool:
        """Hold a body that has come whole; False where others take all the room, or it is too large."""
        if size > self._most or (self.held and self.held + size > self._most_of_all):
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Note that a request whose body was taken has been answered."""
        self.held -= size

    def let_go(self, scope: Scope) -> None:
        """Note that a request has been answered."""
        self.held -= scope.get("rnnserve.held", 0)

    def _hold(self, scope: Scope, size: int) -> None:
        held = scope.get("rnnserve.held", 0)
        if size and self.held + size > self._most_of_all and self.held > held:
            raise RestError(
                429,
                f"the bodies of other requests take {self.held - held:,} bytes of the {self._most_of_all:,} that are "
                "read at a time; slow down",
                headers={"retry-after": "1"},
            )
        self.held += size
        scope["rnnserve.held"] = held + size

    def _too_large(self, what: str) -> RestError:
        return RestError(
            413,
            f"the body has {what}, and at most {self._most:,} bytes are read (--max-body-bytes): send fewer rows (the "
            "batch axis) a request, or binary tensors",
        )


def read_header_length(headers: Mapping[bytes, bytes], all_headers: list[tuple[bytes, bytes]]) -> int | None:
    """Read Inference-Header-Content-Length; None where the request has none.

    Args:
        headers: Headers by name.
        all_headers: Headers in the order in which they came.

    Raises:
        RestError: If it comes twice, or is no number.
    """
    name = b"inference-header-content-length"
    value = headers.get(name)
    if value is None:
        return None
    if sum(each == name for each, _ in all_headers) > 1:
        raise bad_request("Inference-Header-Content-Length comes twice")
    text = value.decode("latin-1").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise bad_request(
            f"Inference-Header-Content-Length is {text[:100]!r}: it is the number of bytes of the JSON before the "
            "binary data, decompressed"
        )
    return int(text)
