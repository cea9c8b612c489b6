"""`POST /v2/models/{model}[/versions/{version}]/infer`."""

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.bodies import read_header_length
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.app.large_answers import LARGE_ANSWER, large_answer
from rnnserve.web.app.large_bodies import beside_loop, read_beside_loop
from rnnserve.web.rest.infer_request import AnswerForm, read_infer_request
from rnnserve.web.rest.infer_response import write_infer_response
from rnnserve.web.rest.raw_request import is_json_request, read_raw_request

__all__ = ["ANSWERED", "answer_of", "infer", "written_answer"]

_BINARY = "application/octet-stream"

ANSWERED = "rnnserve.answered"
"""Key of a scope whose request the server has answered already: the bytes of the answer, which takes too long to be
written at once."""


async def infer(exchange: Exchange) -> Answer:
    """Answer an inference request: JSON, JSON and binary data, or the bytes of the one input.

    Which of them it is, the headers say: with Inference-Header-Content-Length there is JSON, and binary data after it;
    without, or with 0, and with the content type application/octet-stream, the body is a raw binary request; else JSON,
    whatever the content type, since curl's own is application/x-www-form-urlencoded. But aiohttp, and so tritonclient's
    asyncio client, sends JSON as application/octet-stream, too: without the header, such a body is looked at.
    """
    scope = exchange.scope
    header_length = read_header_length(exchange.headers, scope["headers"])
    body = await exchange.body()
    model, version = exchange.parameter("model"), exchange.parameter("version")
    is_binary = exchange.headers.get(b"content-type", b"").strip().lower() == _BINARY.encode()
    if is_binary and header_length is None and await beside_loop(len(body), is_json_request, body):
        is_binary = False
    if is_binary and not header_length:
        request, form = read_raw_request(body, await exchange.metadata(), model, version), AnswerForm()
    else:
        size = len(body) if header_length is None else header_length  # bytes that follow the JSON cost little
        request, form = await read_beside_loop(size, read_infer_request, body, header_length, model, version)
    size_of_request = len(body)
    del body  # the request's message has a copy of what matters
    answered: bytes | None = scope.get(ANSWERED)
    if answered is None:
        async with exchange.turn(size_of_request):
            response = await exchange.upstream.infer(request, exchange.context())
    else:
        response = pb.ModelInferResponse.FromString(answered)
    del request
    size = sum(map(len, response.raw_output_contents))
    if size >= LARGE_ANSWER:
        exchange.hold(size)
        if (answer := large_answer(exchange, response, form)) is not None:
            return answer
    return await beside_loop(size, answer_of, response, form, exchange.request_id)


def answer_of(response: pb.ModelInferResponse, form: AnswerForm, request_id: str) -> Answer:
    """Write the answer to a request.

    Args:
        response: Answer of the server.
        form: Form that the request asks for.
        request_id: Name of the request.

    Raises:
        RestError: If an output has no form in JSON, and is not to be binary.
    """
    return written_answer(*write_infer_response(response, form, request_id))


def written_answer(text: bytes, header_length: int | None) -> Answer:
    """Make an answer of what `write_infer_response` gives."""
    if header_length is None:
        return Answer(text)
    return Answer(text, content_type=_BINARY, headers={"inference-header-content-length": str(header_length)})
