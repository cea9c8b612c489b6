"""`POST /v2/models/{model}[/versions/{version}]/infer`."""

from collections.abc import Mapping

from rnnserve.web.app.bodies import LARGE, beside_loop
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.errors import bad_request
from rnnserve.web.rest.infer_request import read_infer_request
from rnnserve.web.rest.infer_response import write_infer_response

__all__ = ["infer"]

_BINARY = "application/octet-stream"
_LENGTH = b"inference-header-content-length"

_JSON_TIMES = 6
"""Approximate maximum of JSON bytes for one byte of a tensor."""


async def infer(exchange: Exchange) -> Answer:
    """Handle an inference request.

    With the header Inference-Header-Content-Length, the body is JSON followed by binary data. Otherwise it is JSON. The
    content type doesn't matter, because curl sends JSON as application/x-www-form-urlencoded, and aiohttp sends it as
    application/octet-stream.
    """
    header_length = _header_length(exchange.headers)
    body = await exchange.body()
    size = len(body) if header_length is None else header_length  # reading the binary data costs little
    arguments = body, header_length, exchange.parameter("model"), exchange.parameter("version")
    if size < LARGE:
        request, form = read_infer_request(*arguments)
    else:
        request, form = await beside_loop(size, read_infer_request, *arguments)
    del body, arguments  # free it now, because the message has a copy of the inputs
    response = await exchange.upstream.infer(request, exchange.context())
    del request
    size = response.ByteSize()
    if size < LARGE:
        text, header_length = write_infer_response(response, form, exchange.request_id)
    else:
        exchange.hold(_JSON_TIMES * size if not form.others_are_binary else size)
        text, header_length = await beside_loop(size, write_infer_response, response, form, exchange.request_id)
    if header_length is None:
        return Answer(text)
    return Answer(text, content_type=_BINARY, headers={_LENGTH.decode(): str(header_length)})


def _header_length(headers: Mapping[bytes, bytes]) -> int | None:
    value = headers.get(_LENGTH)
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise bad_request(
            f"Inference-Header-Content-Length is {text[:100]!r}; expected the number of bytes of the decompressed "
            "JSON before the binary data"
        )
    return int(text)
