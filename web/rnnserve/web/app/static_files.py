"""The files of this package that browsers load, and the headers of all that is a page.

No page has a script or a style in its text: the browser is told to run none, and to load nothing from elsewhere
(Content-Security-Policy).
"""

import importlib.resources
from types import MappingProxyType

from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.errors import RestError

__all__ = ["CONTENT_SECURITY_POLICY", "PAGE_HEADERS", "front_page", "static_file"]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

PAGE_HEADERS = MappingProxyType(
    {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
)

_KINDS = MappingProxyType(
    {
        "css": "text/css; charset=utf-8",
        "html": "text/html; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "svg": "image/svg+xml",
    }
)
_FOLDER = importlib.resources.files("rnnserve.web.app").joinpath("static")
_NAMES = frozenset(file.name for file in _FOLDER.iterdir() if file.name.rpartition(".")[2] in _KINDS)
"""Only these are read: a path from a request never becomes a path of a file."""


async def static_file(exchange: Exchange) -> Answer:
    """Give a file that pages need."""
    return _file(exchange.parameter("file"))


async def front_page(exchange: Exchange) -> Answer:  # noqa: ARG001 - a handler
    """Give the page that shows what serves."""
    return _file("page.html")


def _file(name: str) -> Answer:
    if name not in _NAMES:
        raise RestError(404, "Not Found")
    data = _FOLDER.joinpath(name).read_bytes()
    return Answer(data, content_type=_KINDS[name.rpartition(".")[2]], headers=PAGE_HEADERS)
