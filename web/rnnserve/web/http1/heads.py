"""What the parser lets through of a head, and what has no one meaning: refused, or brought into one form.

llhttp 9, as httptools 0.9 has it, takes other versions, several Hosts, other codings of a transfer, targets with
fragments, and those of other schemes and hosts (docs/lab/findings.md, "HTTP in Python").
"""

import functools
import re
from collections.abc import Sequence

__all__ = ["Refused", "check_head", "path_of_target"]

_ONCE = frozenset(
    (
        b"host",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"inference-header-content-length",
        b"origin",
        b"transfer-encoding",
    )
)
"""Fields that mean one thing: of two, one reader takes the first, another the last."""

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::\d{0,5})?")
"""Of a header Host: a name or an address, and a port (RFC 3986, "host")."""

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)


class Refused(Exception):
    """A request that is refused while it is parsed.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        """Say what is wrong.

        Args:
            status: HTTP status.
            message: Words for the client.
        """
        super().__init__(message)
        self.status = status


def check_head(version: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Refuse a head that has no one meaning, and give its Host.

    Args:
        version: Version of HTTP, as the request line says it.
        headers: Fields in their order; names in lower case.

    Raises:
        Refused: If it is such a head.
    """
    if version not in ("1.0", "1.1"):
        raise Refused(505, f"HTTP/{version} is not spoken here: HTTP/1.1 is")
    fields = dict(headers)
    if len(fields) != len(headers):
        _check_once(headers)
    host = fields.get(b"host")
    if host is None:
        if version == "1.1":
            raise Refused(400, "a request has one header Host")
        host = b""
    elif not _is_host(host):
        raise Refused(400, "the header Host is no name or address, with a port")
    coding = fields.get(b"transfer-encoding")
    if coding is not None and (coding.strip().lower() != b"chunked" or version == "1.0"):
        raise Refused(501, "Transfer-Encoding may be chunked, of HTTP/1.1, and nothing else")
    expected = fields.get(b"expect")
    if expected is not None and expected.strip().lower() != b"100-continue":
        raise Refused(417, "the header Expect may be 100-continue, and nothing else")
    return host


@functools.lru_cache(256)  # clients of a server use few
def _is_host(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


def path_of_target(method: bytes, target: bytes, host: bytes) -> bytes:
    """Give the path and query of a request line's target.

    Args:
        method: Method of the request.
        target: Target as it was sent.
        host: The header Host: a target that names another host is for another server.

    Raises:
        Refused: If it is no target that this server has.
    """
    if method == b"CONNECT":
        raise Refused(400, "CONNECT is for proxies, and this is none")
    if target[:1] == b"/":
        if b"#" in target:
            raise Refused(400, "the path has a fragment (#…), which clients keep for themselves")
        return target
    if target == b"*" and method == b"OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Refused(400, "the request line has no path that begins with a slash")
    port = b":443" if target[4:5] in b"sS" else b":80"
    if absolute[1].lower().removesuffix(port) != host.lower().removesuffix(port):
        raise Refused(400, "the request line names another host than the header Host")
    rest = absolute[2]
    return rest if rest.startswith(b"/") else b"/" + rest


def _check_once(headers: Sequence[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in headers if name in _ONCE]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice == b"host":
        raise Refused(400, "a request has one header Host")
    if twice is not None:
        raise Refused(400, f"the header {twice.decode().title()} comes twice")
