"""Checks of every request before its route is looked up: headers, host and origin."""

import functools
import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from rnnserve.web.errors import RestError, bad_request, quoted

__all__ = ["check_headers", "check_host", "is_own_origin"]

_LONGEST_HOST = 300
"""Characters of a Host header. A name has at most 253 and a port five."""

_MOST_FIELDS = 100
"""Headers of a request. Beyond it: 431."""

_ONCE = frozenset((b"authorization", b"content-encoding", b"content-length", b"content-type", b"host", b"origin",
                   b"inference-header-content-length"))  # fmt: skip
"""Headers that a request may have only once, because some servers use the first value and others the last."""


def check_headers(fields: list[tuple[bytes, bytes]], headers: Mapping[bytes, bytes]) -> None:
    """Refuse ambiguous or too many headers, and an Upgrade header in a request with a body."""
    if len(fields) > _MOST_FIELDS:
        raise RestError(431, f"the request has too many headers; at most {_MOST_FIELDS} are allowed")
    if len(headers) != len(fields):
        names = [name for name, _ in fields if name in _ONCE]
        for name in set(names):
            if names.count(name) > 1:
                raise bad_request(f"the header {name.decode()} occurs twice; send it once")
    if b"upgrade" in headers and headers.get(b"content-length", b"0") != b"0":
        raise bad_request(
            "the request has a body and requests another protocol (header Upgrade), but this server speaks only "
            "HTTP/1.1. Set your client to HTTP/1.1 (Java: HttpClient.Version.HTTP_1_1)"
        )


def check_host(headers: Mapping[bytes, bytes], server: tuple[str, int | None] | None, allowed: frozenset[str]) -> None:
    """Refuse requests to a loopback address if the Host header has a public name.

    This prevents DNS rebinding: another site can make its name resolve to 127.0.0.1. The browser then treats the
    gateway as that site, and the site's pages can read all responses. An IP address or a name without a dot is safe,
    because no such site can use it as its name. `allowed` has lower-case names that a proxy on this machine passes on.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    if server is None or _is_safe(host[: _LONGEST_HOST + 1], server[0], allowed):
        return
    raise RestError(
        403,
        f"the header Host is {quoted(host)}, but this server listens only on this machine, so the request may come "
        "from a page of another site. Use localhost. If a proxy passes this name on, start with --allow-host "
        "(rnnserve serve: --http-allow-host)",
    )


@functools.lru_cache(256)
def _is_safe(host: str, address: str, allowed: frozenset[str]) -> bool:
    """Return whether no other site's name server can make this host's name resolve to the address."""
    found = _address(address)
    if found is None or not found.is_loopback:
        return True
    try:
        name = urlsplit(f"//{host.lower()}").hostname or ""
    except ValueError:
        name = host.lower()
    is_private = "." not in name or name.endswith(".localhost") or _address(name) is not None
    return len(host) <= _LONGEST_HOST and (name in allowed or is_private)


def is_own_origin(headers: Mapping[bytes, bytes], allowed: Collection[str] = ()) -> bool:
    """Return whether a request comes from a page of this site or an allowed site, or from a program.

    Only browsers send the Origin header, so a request without it comes from a program.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return True
    text = origin.decode("latin-1").lower()
    try:
        host = urlsplit(text).netloc
    except ValueError:  # "http://["
        return False
    return bool(host) and (host == headers.get(b"host", b"").decode("latin-1").lower() or text in allowed)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
