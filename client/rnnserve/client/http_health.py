"""Asks the routes of health over HTTP, with nothing imported but the standard library."""

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterable

from rnnserve.client.credentials_hint import credentials_hint

__all__ = ["ask_over_http"]

_MOST_BYTES = 1 << 16


def ask_over_http(
    url: str,
    model: str,
    timeout: float,
    context: ssl.SSLContext | None,
    *,
    is_live_enough: bool,
    headers: Iterable[tuple[str, str]] = (),
) -> str:
    """Say why a server, or a model of it, is not ready; nothing where it is.

    Args:
        url: Address of the server, http://HOST:PORT, and a path before its routes where it has one.
        model: Name of the model; empty for the server as a whole.
        timeout: Seconds that each step may take.
        context: Authorities that TLS trusts, for https.
        is_live_enough: Whether it is enough that the process answers, ready or not.
        headers: Headers that go with the request.

    Raises:
        ValueError: If the URL has no host, or its port is none.
    """
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"{url!r} has no host")
    path = "/v2/health/live" if is_live_enough else "/v2/health/ready"
    if model and not is_live_enough:
        path = f"/v2/models/{urllib.parse.quote(model, safe='')}/ready"
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        connection.request(
            "GET", parts.path.rstrip("/") + path, headers={"Accept": "application/json", **dict(headers)}
        )
        reply = connection.getresponse()
        body = reply.read(_MOST_BYTES)
    except ssl.SSLError as error:
        return f"no TLS: {error.reason or error}"
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {getattr(error, 'strerror', None) or error or type(error).__name__}"
    finally:
        connection.close()
    if reply.status == http.HTTPStatus.OK:
        return ""
    said = _said(body) or reply.reason
    hint = f"; {credentials_hint(said)}" if reply.status == http.HTTPStatus.UNAUTHORIZED else ""
    return f"status {reply.status}: {said}{hint}"


def _said(body: bytes) -> str:
    """What the server says of it, in one line; nothing where the body is not as the protocol has it."""
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return " ".join(str(said).split())
