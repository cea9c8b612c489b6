"""What every request passes before its route: its path, where it comes from, its id; and how errors are written."""

import itertools
import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from rnnserve.web.app.exchange import Answer, json_answer
from rnnserve.web.errors import RestError, bad_request

__all__ = ["check_origin", "check_path", "error_answer", "request_id_of"]

_ENCODED = re.compile(rb"%(?:2[fF]|5[cC]|00|2[eE](?:%2[eE]|\.)?(?=/|$))")
"""Slashes, backslashes, NUL, and segments of encoded dots: one part of the path to some readers, several to others."""

_DOTS = re.compile(rb"(?:^|/)\.{1,2}(?:/|$)")

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")

_PREFIX, _COUNT = secrets.token_hex(6), itertools.count(1)
"""An id of a request is unique: one random part a process, and a number."""


def check_path(raw_path: bytes) -> None:
    """Refuse paths that another reader may read otherwise.

    Raises:
        RestError: If it is one.
    """
    if b"%" in raw_path and _ENCODED.search(raw_path):
        raise bad_request("the path has an encoded slash, backslash, dot segment or NUL: names have none of these")
    if b"/." in raw_path and _DOTS.search(raw_path):
        raise bad_request("the path has a dot segment")


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
    if urlsplit(origin.decode("latin-1").lower()).netloc != host:
        raise RestError(403, "this request comes from a page of another site (header Origin): it is not answered")


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The client's X-Request-Id, where it is one; else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PREFIX}-{next(_COUNT):x}"


def error_answer(error: RestError) -> Answer:
    """Write an error. Its content type is exactly application/json: KServe's client reads no other's message."""
    return json_answer({"error": str(error)}, error.status, error.headers)
