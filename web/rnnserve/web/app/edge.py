"""What every request passes before its route: its path, where it comes from, its id; and how errors are written."""

import functools
import ipaddress
import itertools
import logging
import re
import secrets
from collections.abc import Collection, Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from rnnserve.web.app.exchange import Answer, json_answer
from rnnserve.web.errors import RestError, bad_request, quoted

__all__ = ["check_host", "check_origin", "check_path", "defect_of", "error_answer", "request_id_of"]

_log = logging.getLogger(__name__)

_ENCODED = re.compile(rb"%(?:2[fF]|5[cC]|[01][0-9a-fA-F]|7[fF]|2[eE](?:%2[eE]|\.)?(?=/|$)|(?![0-9a-fA-F]{2}))")
"""Slashes, backslashes and segments of encoded dots: one part of the path to some readers, several to others. Control
characters, and what is no encoding."""

_DOTS = re.compile(rb"(?:^|/)\.{1,2}(?:/|$)")

_LONGEST_HOST = 300
"""Characters: a name has 253 at most, and a port five."""

_CACHED = 256
"""Hosts and addresses whose meaning is kept: clients of a front use few."""

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")

_PREFIX, _COUNT = secrets.token_hex(6), itertools.count(1)
"""An id of a request is unique: one random part a process, and a number."""


def check_path(raw_path: bytes) -> None:
    """Refuse paths that another reader may read otherwise.

    Raises:
        RestError: If it is one.
    """
    if b"%" in raw_path and _ENCODED.search(raw_path):
        raise bad_request(
            "the path has an encoded slash, backslash, dot segment or control character, or a % without two digits "
            "after it: names have none of these"
        )
    if b"%" in raw_path and not _is_utf8(unquote_to_bytes(raw_path)):
        raise bad_request("the path is not UTF-8, decoded: names are")
    if b"/." in raw_path and _DOTS.search(raw_path):
        raise bad_request("the path has a dot segment")


def check_host(headers: Mapping[bytes, bytes], server: tuple[str, int | None] | None, allowed: Collection[str]) -> None:
    """Refuse what comes to this machine's own address under a public name.

    A page of another site can have its name resolved to 127.0.0.1 (DNS rebinding): to the browser this front is then
    that site, and the page reads all that it answers. No such page can have an address for its name, or a name without
    a dot.

    Args:
        headers: Headers of the request by name, lower case.
        server: Address and port that the client has connected to; None where it is not known.
        allowed: Names that are this front's own, lower case, as a proxy before it passes them on.

    Raises:
        RestError: If the header Host has another name.
    """
    if server is None or not _is_loopback(server[0]):
        return
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if len(host) <= _LONGEST_HOST:
        name = _name_of(host)
        if name in allowed or _is_private(name):
            return
    raise RestError(
        403,
        f"the header Host is {quoted(host)}, and this is a machine's own address: that may be a page of another site. "
        "Ask as localhost, or start with --allow-host (rnnserve serve: --http-allow-host) where a proxy passes it on",
    )


def check_origin(method: str, headers: Mapping[bytes, bytes]) -> None:
    """Refuse what a page of another site has a browser send: it needs no answer to do harm.

    Browsers send the header Origin with each POST, and no other client does.

    Raises:
        RestError: If it is such a request.
    """
    origin = headers.get(b"origin")
    if origin is None or method in ("GET", "HEAD", "OPTIONS"):
        return
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if _host_of_origin(origin.decode("latin-1").lower()) != host:
        raise RestError(403, "this request comes from a page of another site (header Origin): it is not answered")


def _host_of_origin(origin: str) -> str | None:
    """Name and port of a header Origin; None where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # "http://["
        return None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@functools.lru_cache(_CACHED)
def _name_of(host: str) -> str:
    """A header Host without its port; as it stands, where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host


@functools.lru_cache(_CACHED)
def _is_private(name: str) -> bool:
    """Whether no name server of another site can have a say in what a name means."""
    return "." not in name or name.endswith(".localhost") or _address(name) is not None


@functools.lru_cache(_CACHED)
def _is_loopback(address: str) -> bool:
    found = _address(address)
    return found is not None and found.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The client's X-Request-Id, where it is one; else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PREFIX}-{next(_COUNT):x}"


def defect_of(request_id: str, error: Exception) -> RestError:
    """Make the error that is told of an exception: it is a defect, told by an id; the log has the details."""
    error_id = secrets.token_hex(4)
    _log.error("internal error %s, request %s", error_id, request_id, exc_info=error)
    return RestError(500, f"internal error {error_id}: the log of the HTTP front has the details")


def error_answer(error: RestError, request_id: str) -> Answer:
    """Write an error. Its content type is exactly application/json: KServe's client reads no other's message.

    Args:
        error: The error.
        request_id: Name of the request, by which logs and traces have it.
    """
    return json_answer({"error": str(error), "id": request_id}, error.status, error.headers)
