"""`POST /v2/models/{model}[/versions/{version}]/infer`."""

from collections.abc import Mapping

from rnnserve.web.app.bodies import LARGE, beside_loop
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.errors import bad_request
from rnnserve.web.rest.infer_request import AnswerForm, is_json_request, read_infer_request, read_raw_request
from rnnserve.web.rest.infer_response import write_infer_response

__all__ = ["infer"]

_BINARY = "application/octet-stream"
_LENGTH = b"inference-header-content-length"

_JSON_TIMES = 6
"""Approximate maximum of JSON bytes for one byte of a tensor."""


async def infer(exchange: Exchange) -> Answer:
    """Handle an inference request.

    The headers determine the form of the body:

    - With Inference-Header-Content-Length, the body is JSON followed by binary data.
    - Without this header (or if it is 0) and with the content type application/octet-stream, the body is a raw binary
      request: only the bytes of the model's single input.
    - Otherwise the body is JSON. The content type doesn't matter, because curl's default is
      application/x-www-form-urlencoded.

    There is one exception: aiohttp, and therefore tritonclient's asyncio client, sends JSON as
    application/octet-stream. If such a body comes without the header, the gateway checks whether it is a JSON request.
    """
    header_length = _header_length(exchange.headers)
    body = await exchange.body()
    model, version = exchange.parameter("model"), exchange.parameter("version")
    is_binary = exchange.headers.get(b"content-type", b"").strip().lower() == _BINARY.encode()
    if is_binary and header_length is None and await beside_loop(len(body), is_json_request, body):
        is_binary = False
    if is_binary and not header_length:
        request, form = read_raw_request(body, await exchange.metadata(), model, version), AnswerForm()
    else:
        size = len(body) if header_length is None else header_length  # reading the binary data costs little
        arguments = body, header_length, model, version
        if size < LARGE:
            request, form = read_infer_request(*arguments)
        else:
            request, form = await beside_loop(size, read_infer_request, *arguments)
    del body  # free it now, because the message has a copy of the inputs
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
            f"Inference-Header-Content-Length is {text[:100]!r}: it is the number of bytes of the JSON before the "
            "binary data, decompressed"
        )
    return int(text)
